"""A kazoo client that does as it is told, line by line: what, where, what to do with it, and an argument."""

import sys
import threading
from kazoo.client import KazooClient

zk = KazooClient(hosts=sys.argv[1])
zk.start()


class Leader:
    """kazoo's election calls back; this asks it to acquire and release."""

    def __init__(self, path):
        self.election = zk.Election(path, "kazoo")

    def acquire(self, blocking=True):
        leads, self.resigned = threading.Event(), threading.Event()

        def lead():
            leads.set()
            self.resigned.wait()

        self.thread = threading.Thread(target=self.election.run, args=(lead,))
        self.thread.start()
        return leads.wait()

    def release(self):
        self.resigned.set()
        self.thread.join()
        return True

    def contenders(self):
        return self.election.contenders()


def put(queue, argument):
    priority, _, item = argument.partition(" ")
    return queue.put(item.encode(), int(priority))


def get(queue, argument):
    item = queue.get(float(argument))
    return item.decode() if item else None


def add(counter, argument):
    counter += int(argument)
    return counter.post_value


KINDS = {
    "lock": lambda path: zk.Lock(path, "kazoo"),
    "read": lambda path: zk.ReadLock(path, "kazoo"),
    "write": lambda path: zk.WriteLock(path, "kazoo"),
    "semaphore": lambda path: zk.Semaphore(path, "kazoo", max_leases=2),
    "election": Leader,
    "queue": zk.LockingQueue,
    "simple": zk.Queue,
    "count": lambda path: zk.Counter(path, support_curator=True),
    "text": zk.Counter,
    "barrier": zk.Barrier,
    "double": lambda path: zk.DoubleBarrier(path, 1),
}
WORDS = {
    "acquire": lambda it, _: it.acquire(),
    "try": lambda it, _: it.acquire(blocking=False),
    "release": lambda it, _: it.release(),
    "contenders": lambda it, _: ",".join(it.contenders()),
    "holders": lambda it, _: ",".join(sorted(it.lease_holders())),
    "put": put,
    "get": get,
    "consume": lambda it, _: it.consume(),
    "append": lambda it, argument: it.put(argument.encode()),
    "add": add,
    "set": lambda it, _: it.create(),
    "remove": lambda it, _: it.remove(),
    "wait": lambda it, argument: it.wait(float(argument)),
    "enter": lambda it, _: it.enter(),
}
made = {}
for line in sys.stdin:
    kind, path, word, argument = (line.rstrip("\n").split(" ", 3) + [""])[:4]
    if (kind, path) not in made:
        made[kind, path] = KINDS[kind](path)
    try:
        print(WORDS[word](made[kind, path], argument), flush=True)
    except ValueError as error:
        print("refused", error, flush=True)
zk.stop()
