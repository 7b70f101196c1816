"""Drives a ZooKeeper server with kazoo, and says what worked.

Usage: kazoo_drive.py HOST:PORT

Prints one line for each check. The exit status is 0 when all passed, 1 otherwise; a check that fails does not
keep the others from running. Every check works below a node of its own, which is gone afterwards.
"""

import sys
import threading
import time
import traceback

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import EventType, KazooState
from kazoo.retry import KazooRetry
from kazoo.security import (
    CREATOR_ALL_ACL,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Permissions,
    make_acl,
    make_digest_acl,
)

# How long anything may take; far more than it needs.
PATIENCE = 30
HOSTS = ""
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def raises(error, function, *args, **kwargs):
    try:
        result = function(*args, **kwargs)
    except error:
        return
    raise AssertionError(f"no {error.__name__}, but {result!r}")


def eventually(condition, what):
    """Waits for what another thread or session brings about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.005)


class Sessions:
    """Clients that are stopped at the end of a check."""

    def __init__(self):
        self.clients = []

    def open(self, **options):
        options.setdefault("timeout", 10)
        client = KazooClient(hosts=HOSTS, **options)
        self.clients.append(client)
        client.start(timeout=PATIENCE)
        return client

    def close(self):
        for client in self.clients:
            client.stop()
            client.close()


class Recorder:
    """A watch function that remembers what it was told."""

    def __init__(self):
        self.events = []
        self.arrived = threading.Event()

    def __call__(self, event):
        self.events.append((event.type, event.path))
        self.arrived.set()

    def wait(self, count=1):
        eventually(lambda: len(self.events) >= count, f"{count} events, but {self.events}")
        return self.events


@check
def creates_reads_and_deletes(zk, root, _):
    assert zk.create(f"{root}/a", b"one") == f"{root}/a"
    data, stat = zk.get(f"{root}/a")
    assert data == b"one"
    assert stat.version == 0 and stat.data_length == 3 and stat.czxid == stat.mzxid
    assert stat.owner_session_id is None and stat.children_count == 0
    assert abs(stat.created - time.time()) < 3600
    raises(NodeExistsError, zk.create, f"{root}/a")
    raises(NoNodeError, zk.create, f"{root}/none/a")
    raises(NoNodeError, zk.get, f"{root}/none")
    assert zk.exists(f"{root}/none") is None
    assert zk.exists(f"{root}/a").mzxid == stat.mzxid
    zk.create(f"{root}/a/b")
    raises(NotEmptyError, zk.delete, f"{root}/a")
    assert zk.get_children(f"{root}/a") == ["b"]
    zk.delete(f"{root}/a/b")
    zk.delete(f"{root}/a")
    raises(NoNodeError, zk.delete, f"{root}/a")


@check
def versions_guard_writes(zk, root, _):
    zk.create(f"{root}/a", b"0")
    assert zk.set(f"{root}/a", b"1", version=0).version == 1
    raises(BadVersionError, zk.set, f"{root}/a", b"2", version=0)
    raises(BadVersionError, zk.delete, f"{root}/a", version=7)
    assert zk.get(f"{root}/a")[0] == b"1"
    zk.delete(f"{root}/a", version=1)


@check
def sequential_names_count_up(zk, root, _):
    names = [zk.create(f"{root}/n-", sequence=True) for _ in range(3)]
    assert names == [f"{root}/n-{n:010d}" for n in range(3)]
    assert zk.create(f"{root}/", sequence=True) == f"{root}/0000000003"


@check
def creates_with_their_stat(zk, root, _):
    path, stat = zk.create(f"{root}/a", b"xyz", include_data=True)
    assert path == f"{root}/a" and stat.data_length == 3
    assert stat == zk.exists(path)


@check
def makes_missing_parents(zk, root, _):
    assert zk.create(f"{root}/x/y/z", b"deep", makepath=True) == f"{root}/x/y/z"
    assert zk.ensure_path(f"{root}/p/q/r") and zk.ensure_path(f"{root}/p/q/r")
    assert zk.exists(f"{root}/p/q/r")


@check
def deletes_recursively(zk, root, _):
    for path in ("a/b/c", "a/d", "a/e/f/g"):
        zk.create(f"{root}/{path}", makepath=True)
    zk.delete(f"{root}/a", recursive=True)
    assert zk.get_children(root) == []


@check
def lists_children_with_data(zk, root, _):
    for name in ("c", "a", "b"):
        zk.create(f"{root}/{name}")
    names, stat = zk.get_children(root, include_data=True)
    assert sorted(names) == ["a", "b", "c"]
    assert stat.children_count == 3 and stat.cversion == 3


@check
def ephemerals_go_with_their_session(zk, root, sessions):
    owner = sessions.open()
    owner.create(f"{root}/e", b"", ephemeral=True)
    path = owner.create(f"{root}/es-", b"", ephemeral=True, sequence=True)
    assert zk.exists(path).owner_session_id == owner.client_id[0]
    raises(NoChildrenForEphemeralsError, zk.create, f"{root}/e/child")
    told = Recorder()
    assert zk.exists(path, watch=told)
    owner.stop()
    assert told.wait() == [(EventType.DELETED, path)]
    assert zk.get_children(root) == []


@check
def unicode_paths_and_any_bytes(zk, root, _):
    name = "größe-漢字-ñ"
    data = bytes(range(256)) * 4
    assert zk.create(f"{root}/{name}", data) == f"{root}/{name}"
    assert zk.get_children(root) == [name]
    assert zk.get(f"{root}/{name}")[0] == data
    zk.create(f"{root}/{name}/ü", "naïve ☃".encode())
    assert zk.get(f"{root}/{name}/ü")[0].decode() == "naïve ☃"
    raises(BadArgumentsError, zk.create, f"{root}/\u0001")


@check
def empty_data(zk, root, _):
    zk.create(f"{root}/a")
    assert zk.get(f"{root}/a")[0] == b""
    zk.set(f"{root}/a", None)
    assert zk.get(f"{root}/a")[0] is None


@check
def nearly_a_mebibyte(zk, root, _):
    big = bytes(range(256)) * 4090
    assert 1_040_000 < len(big) < 0xFFFFF
    zk.create(f"{root}/big", big)
    assert zk.get(f"{root}/big")[0] == big
    zk.set(f"{root}/big", big[::-1])
    data, stat = zk.get(f"{root}/big")
    assert data == big[::-1] and stat.data_length == len(big)


@check
def many_requests_at_once(zk, root, _):
    created = [zk.create_async(f"{root}/{n}", str(n).encode()) for n in range(500)]
    read = [zk.get_async(f"{root}/{n}") for n in range(500)]
    assert [c.get(timeout=PATIENCE) for c in created] == [f"{root}/{n}" for n in range(500)]
    assert [r.get(timeout=PATIENCE)[0] for r in read] == [str(n).encode() for n in range(500)]
    assert len(zk.get_children(root)) == 500


@check
def watches_fire_once(zk, root, sessions):
    other = sessions.open()
    zk.create(f"{root}/a")
    data, existence, children = Recorder(), Recorder(), Recorder()
    zk.get(f"{root}/a", watch=data)
    assert zk.exists(f"{root}/b", watch=existence) is None
    zk.get_children(root, watch=children)
    other.set(f"{root}/a", b"1")
    other.set(f"{root}/a", b"2")
    other.create(f"{root}/b")
    other.create(f"{root}/c")
    assert data.wait() == [(EventType.CHANGED, f"{root}/a")]
    assert existence.wait() == [(EventType.CREATED, f"{root}/b")]
    assert children.wait() == [(EventType.CHILD, root)]
    zk.sync(root)
    assert len(data.events) == len(existence.events) == len(children.events) == 1


@check
def watches_of_a_deleted_node(zk, root, sessions):
    other = sessions.open()
    zk.create(f"{root}/a")
    data, children = Recorder(), Recorder()
    zk.get(f"{root}/a", watch=data)
    zk.get_children(f"{root}/a", watch=children)
    other.delete(f"{root}/a")
    assert data.wait() == [(EventType.DELETED, f"{root}/a")]
    assert children.wait() == [(EventType.DELETED, f"{root}/a")]


@check
def data_watch_follows_a_node(zk, root, sessions):
    other = sessions.open()
    seen = []

    @zk.DataWatch(f"{root}/a")
    def changed(data, stat):
        seen.append((data, stat.version if stat else None))

    other.create(f"{root}/a", b"0")
    eventually(lambda: seen[-1] == (b"0", 0), "created")
    for n in range(1, 6):
        other.set(f"{root}/a", str(n).encode())
        eventually(lambda: seen[-1] == (str(n).encode(), n), f"version {n}")
    other.delete(f"{root}/a")
    eventually(lambda: seen[-1] == (None, None), "deleted")
    other.create(f"{root}/a", b"again")
    eventually(lambda: seen[-1] == (b"again", 0), "created again")


@check
def children_watch_follows_a_node(zk, root, sessions):
    other = sessions.open()
    seen = []

    @zk.ChildrenWatch(root)
    def changed(children):
        seen.append(sorted(children))

    for name in "abc":
        other.create(f"{root}/{name}")
        eventually(lambda: name in seen[-1], f"child {name}")
    other.delete(f"{root}/a")
    eventually(lambda: seen[-1] == ["b", "c"], "without a")
    assert seen[0] == []


@check
def a_transaction_commits(zk, root, _):
    zk.create(f"{root}/old", b"old")
    transaction = zk.transaction()
    transaction.create(f"{root}/a", b"1")
    transaction.create(f"{root}/n-", sequence=True, ephemeral=True)
    transaction.check(f"{root}/old", version=0)
    transaction.set_data(f"{root}/old", b"new", version=0)
    transaction.delete(f"{root}/a", version=0)
    results = transaction.commit()
    assert results[0] == f"{root}/a" and results[1] == f"{root}/n-0000000002"
    assert results[2] is True and results[3].version == 1 and results[4] is True
    assert sorted(zk.get_children(root)) == ["n-0000000002", "old"]
    assert zk.get(f"{root}/old")[0] == b"new"


@check
def a_transaction_fails_as_a_whole(zk, root, _):
    zk.create(f"{root}/old", b"old")
    transaction = zk.transaction()
    transaction.create(f"{root}/a")
    transaction.set_data(f"{root}/old", b"new")
    transaction.check(f"{root}/old", version=7)
    transaction.delete(f"{root}/old")
    results = [type(result) for result in transaction.commit()]
    assert results == [RolledBackError, RolledBackError, BadVersionError, RuntimeInconsistency]
    assert zk.get_children(root) == ["old"] and zk.get(f"{root}/old")[0] == b"old"


@check
def digest_acls(zk, root, sessions):
    acl = make_digest_acl("user", "pw", all=True)
    zk.create(f"{root}/a", b"secret", acl=[acl])
    for attempt in (zk.get, zk.exists, zk.get_children, zk.get_acls):
        raises(NoAuthError, attempt, f"{root}/a")
    raises(NoAuthError, zk.set, f"{root}/a", b"x")
    raises(NoAuthError, zk.create, f"{root}/a/b")
    raises(NoAuthError, zk.set_acls, f"{root}/a", OPEN_ACL_UNSAFE)
    wrong = sessions.open(auth_data=[("digest", "user:wrong")])
    raises(NoAuthError, wrong.get, f"{root}/a")
    user = sessions.open(auth_data=[("digest", "user:pw")])
    assert user.get(f"{root}/a")[0] == b"secret"
    assert user.get_acls(f"{root}/a")[0] == [acl]
    zk.add_auth("digest", "user:pw")
    assert zk.get(f"{root}/a")[0] == b"secret"


@check
def acls_of_the_creator(zk, root, sessions):
    raises(InvalidACLError, zk.create, f"{root}/a", acl=CREATOR_ALL_ACL)
    owner = sessions.open(auth_data=[("digest", "one:1"), ("digest", "two:2")])
    owner.create(f"{root}/a", acl=CREATOR_ALL_ACL)
    acls = owner.get_acls(f"{root}/a")[0]
    assert sorted(acl.id.id.split(":")[0] for acl in acls) == ["one", "two"]
    raises(NoAuthError, zk.get, f"{root}/a")
    assert owner.set_acls(f"{root}/a", READ_ACL_UNSAFE).acl_version == 1
    assert zk.get(f"{root}/a")[0] == b""
    raises(NoAuthError, owner.set, f"{root}/a", b"x")


@check
def acl_versions_and_addresses(zk, root, _):
    zk.create(f"{root}/a")
    raises(BadVersionError, zk.set_acls, f"{root}/a", OPEN_ACL_UNSAFE, version=3)
    here = make_acl("ip", "127.0.0.0/8", all=True)
    assert zk.set_acls(f"{root}/a", [here], version=0).acl_version == 1
    assert zk.get_acls(f"{root}/a")[0] == [here]
    zk.set(f"{root}/a", b"here")
    elsewhere = make_acl("ip", "10.0.0.0/8", all=True)
    admin = make_acl("world", "anyone", admin=True)
    assert admin.perms == Permissions.ADMIN
    zk.set_acls(f"{root}/a", [elsewhere, admin])
    raises(NoAuthError, zk.get, f"{root}/a")
    zk.set_acls(f"{root}/a", OPEN_ACL_UNSAFE)
    raises(InvalidACLError, zk.set_acls, f"{root}/a", [])


@check
def sync_answers(zk, root, sessions):
    other = sessions.open()
    for n in range(20):
        other.create(f"{root}/{n}")
        assert zk.sync(root) == root
        assert len(zk.get_children(root)) == n + 1


@check
def chroot(zk, root, sessions):
    inner = KazooClient(hosts=f"{HOSTS}{root}", timeout=10)
    sessions.clients.append(inner)
    inner.start(timeout=PATIENCE)
    assert inner.create("/a/b", b"x", makepath=True) == "/a/b"
    assert zk.get(f"{root}/a/b")[0] == b"x"
    told = Recorder()
    inner.get("/a/b", watch=told)
    zk.set(f"{root}/a/b", b"y")
    assert told.wait() == [(EventType.CHANGED, "/a/b")]


@check
def four_letter_words(zk, root, _):
    assert zk.command(b"ruok") == "imok"
    assert "Mode: standalone" in zk.command(b"srvr")
    assert "zk_znode_count" in zk.command(b"mntr")
    assert "Clients:" in zk.command(b"stat")


@check
def a_lost_connection_is_resumed(zk, root, sessions):
    client = sessions.open()
    states = []
    client.add_listener(states.append)
    client.create(f"{root}/e", ephemeral=True)
    session = client.client_id
    seen = []

    @client.DataWatch(f"{root}/watched")
    def changed(data, stat):
        seen.append(data)

    client._connection._socket.shutdown(2)
    eventually(lambda: KazooState.CONNECTED in states, f"connected again: {states}")
    assert states[0] == KazooState.SUSPENDED and KazooState.LOST not in states
    assert client.client_id == session
    assert zk.exists(f"{root}/e").owner_session_id == session[0]
    # What happens after it, and what happened meanwhile, is noticed.
    zk.create(f"{root}/watched", b"seen")
    eventually(lambda: seen[-1] == b"seen", f"the watch goes on: {seen}")


@check
def an_expired_session_is_replaced(zk, root, sessions):
    client = sessions.open()
    states = []
    client.add_listener(states.append)
    client.create(f"{root}/e", ephemeral=True)
    session = client.client_id
    # A second client takes the session over and closes it.
    thief = KazooClient(hosts=HOSTS, client_id=session, timeout=10)
    thief.start(timeout=PATIENCE)
    assert thief.client_id == session
    thief.stop()
    thief.close()
    eventually(lambda: KazooState.LOST in states, f"lost: {states}")
    eventually(lambda: states[-1] == KazooState.CONNECTED, f"connected again: {states}")
    assert client.client_id[0] != session[0]
    assert zk.exists(f"{root}/e") is None
    client.create(f"{root}/e", ephemeral=True)


@check
def a_stopped_client_starts_again(zk, root, sessions):
    client = sessions.open()
    client.create(f"{root}/e", ephemeral=True)
    client.restart()
    eventually(lambda: client.connected, "connected")
    assert zk.exists(f"{root}/e") is None
    assert client.exists(root)


@check
def retries_until_it_works(zk, root, sessions):
    other = sessions.open()
    retry = KazooRetry(max_tries=100, delay=0.01, backoff=1, ignore_expire=False)
    attempts = []

    def replace():
        attempts.append(1)
        if len(attempts) == 3:
            other.create(f"{root}/a")
        zk.set(f"{root}/a", b"done")

    from kazoo.exceptions import NoNodeError as missing

    retry.retry_exceptions = retry.retry_exceptions + (missing,)
    retry(replace)
    assert len(attempts) == 3


@check
def a_lock_excludes(zk, root, sessions):
    inside, order, errors = [], [], []

    def work(n):
        try:
            client = sessions.open()
            lock = client.Lock(f"{root}/lock", f"worker-{n}")
            for _ in range(5):
                with lock:
                    inside.append(n)
                    assert len(inside) == 1, f"together: {inside}"
                    order.append(n)
                    inside.pop()
        except BaseException as error:  # told in the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not errors, errors
    assert len(order) == 20 and zk.get_children(f"{root}/lock") == []


@check
def a_lock_queues_and_times_out(zk, root, sessions):
    other = sessions.open()
    first, second = zk.Lock(f"{root}/lock", "first"), other.Lock(f"{root}/lock", "second")
    assert first.acquire()
    assert first.is_acquired
    assert not second.acquire(blocking=False)
    from kazoo.exceptions import LockTimeout

    raises(LockTimeout, second.acquire, timeout=0.2)
    assert second.contenders() == ["first"]
    waiting = threading.Thread(target=second.acquire)
    waiting.start()
    eventually(lambda: first.contenders() == ["first", "second"], "a second contender")
    first.release()
    waiting.join(PATIENCE)
    assert second.is_acquired and second.contenders() == ["second"]
    second.release()


@check
def a_lock_passes_on_when_its_holder_is_gone(zk, root, sessions):
    holder = sessions.open()
    assert holder.Lock(f"{root}/lock", "holder").acquire()
    heir = zk.Lock(f"{root}/lock", "heir")
    waiting = threading.Thread(target=heir.acquire)
    waiting.start()
    eventually(lambda: heir.contenders() == ["holder", "heir"], "the heir in the queue")
    holder.stop()
    waiting.join(PATIENCE)
    assert heir.is_acquired
    heir.release()


@check
def read_and_write_locks(zk, root, sessions):
    other = sessions.open()
    one, two = zk.ReadLock(f"{root}/rw", "one"), other.ReadLock(f"{root}/rw", "two")
    writer = other.WriteLock(f"{root}/rw", "writer")
    assert one.acquire() and two.acquire(timeout=PATIENCE)
    assert not writer.acquire(blocking=False)
    one.release()
    two.release()
    assert writer.acquire(timeout=PATIENCE)
    assert not one.acquire(blocking=False)
    writer.release()


@check
def semaphores(zk, root, sessions):
    other = sessions.open()
    mine = [zk.Semaphore(f"{root}/s", max_leases=2, identifier=f"m{n}") for n in range(2)]
    third = other.Semaphore(f"{root}/s", max_leases=2, identifier="third")
    assert all(semaphore.acquire() for semaphore in mine)
    assert not third.acquire(blocking=False)
    assert sorted(third.lease_holders()) == ["m0", "m1"]
    mine[0].release()
    assert third.acquire(timeout=PATIENCE)
    third.release()
    mine[1].release()


@check
def counters(zk, root, sessions):
    clients = [sessions.open() for _ in range(3)]
    counters = [client.Counter(f"{root}/counter") for client in clients]

    def count(counter):
        for _ in range(20):
            counter += 1

    threads = [threading.Thread(target=count, args=(counter,)) for counter in counters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert zk.Counter(f"{root}/counter").value == 60


@check
def queues(zk, root, sessions):
    queue = zk.Queue(f"{root}/q")
    queue.put(b"later", priority=50)
    queue.put(b"first", priority=10)
    assert len(queue) == 2
    assert [queue.get(), queue.get(), queue.get()] == [b"first", b"later", None]
    locking = sessions.open().LockingQueue(f"{root}/lq")
    locking.put_all([b"a", b"b"])
    assert locking.get(timeout=PATIENCE) == b"a" and locking.holds_lock()
    assert locking.consume() and locking.get(timeout=PATIENCE) == b"b" and locking.consume()


@check
def barriers(zk, root, sessions):
    barrier = zk.Barrier(f"{root}/b")
    barrier.create()
    assert not barrier.wait(timeout=0.05)
    waited = []
    waiting = threading.Thread(
        target=lambda: waited.append(sessions.open().Barrier(f"{root}/b").wait(PATIENCE))
    )
    waiting.start()
    assert barrier.remove()
    waiting.join(PATIENCE)
    assert waited == [True]
    passed = []

    def both(n):
        double = sessions.open().DoubleBarrier(f"{root}/double", 3, f"p{n}")
        double.enter()
        passed.append("in")
        double.leave()

    threads = [threading.Thread(target=both, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(passed) == 3


@check
def elections_and_parties(zk, root, sessions):
    led = []

    def run(n):
        sessions.open().Election(f"{root}/election", f"c{n}").run(led.append, n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(led) == [0, 1, 2]
    party = zk.Party(f"{root}/party", "me")
    other = sessions.open().Party(f"{root}/party", "you")
    party.join()
    other.join()
    assert sorted(party) == ["me", "you"] and len(other) == 2
    other.leave()
    assert list(party) == ["me"]


@check
def a_tree_cache_keeps_up(zk, root, sessions):
    from kazoo.recipe.cache import TreeCache

    other = sessions.open()
    other.create(f"{root}/a/b", b"1", makepath=True)
    cache = TreeCache(zk, root)
    ready = threading.Event()
    cache.listen(lambda event: ready.set() if event.event_type == 6 else None)
    cache.start()
    try:
        assert ready.wait(PATIENCE)
        assert cache.get_data(f"{root}/a/b").data == b"1"
        other.set(f"{root}/a/b", b"2")
        other.create(f"{root}/a/c", b"3")
        other.delete(f"{root}/a/b")
        eventually(lambda: cache.get_children(f"{root}/a") == {"c"}, "the cache follows")
        # A child is known before its data is.
        eventually(lambda: cache.get_data(f"{root}/a/c") is not None, "the child's data")
        assert cache.get_data(f"{root}/a/c").data == b"3"
    finally:
        cache.close()


def run(function, number):
    sessions = Sessions()
    root = f"/kazoo-{number}-{function.__name__}"
    try:
        zk = sessions.open()
        zk.create(root)
        function(zk, root, sessions)
        with_rights = sessions.open(auth_data=[("digest", "user:pw"), ("digest", "one:1")])
        with_rights.delete(root, recursive=True)
        print(f"ok      {function.__name__}", flush=True)
        return True
    except BaseException:
        print(f"FAILED  {function.__name__}", flush=True)
        traceback.print_exc(file=sys.stdout)
        return False
    finally:
        sessions.close()


def main():
    global HOSTS
    HOSTS = sys.argv[1]
    only = sys.argv[2:]
    chosen = [check for check in CHECKS if not only or check.__name__ in only]
    passed = sum(run(function, number) for number, function in enumerate(chosen))
    print(f"{passed} of {len(chosen)} checks passed", flush=True)
    sys.exit(0 if passed == len(chosen) else 1)


if __name__ == "__main__":
    main()
