import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.Participant;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.locks.Revoker;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.retry.RetryNTimes;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.UriSpec;

/** A Curator client that does as it is told, line by line: what, where, what to do with it, and an argument. */
public class CuratorPeer {
    interface Maker {
        Object make() throws Exception;
    }

    static final RetryNTimes RETRY = new RetryNTimes(5, 50);
    static final Map<String, Object> made = new HashMap<>();
    static CuratorFramework client;

    @SuppressWarnings("unchecked")
    static <T> T at(String what, Maker maker) throws Exception {
        Object it = made.get(what);
        if (it == null) {
            it = maker.make();
            made.put(what, it);
        }
        return (T) it;
    }

    public static void main(String[] arguments) throws Exception {
        client = CuratorFrameworkFactory.newClient(arguments[0], RETRY);
        client.start();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", 4);
            String argument = words.length > 3 ? words[3] : "";
            try {
                System.out.println(told(words[0], words[1], words[2], argument));
            } catch (Exception error) {
                System.out.println("failed " + error);
            }
            System.out.flush();
        }
        System.exit(0);
    }

    static Object told(String kind, String path, String word, String argument) throws Exception {
        String what = kind + path;
        switch (kind) {
            case "revocable":
                return revocable(at(what, () -> new InterProcessMutex(client, path)), word);
            case "lock":
                return lock(at(what, () -> new InterProcessMutex(client, path)), word);
            case "read":
                return lock(at(what, () -> new InterProcessReadWriteLock(client, path).readLock()), word);
            case "write":
                return lock(at(what, () -> new InterProcessReadWriteLock(client, path).writeLock()), word);
            case "semaphore":
                return semaphore(at(what, () -> new InterProcessSemaphoreV2(client, path, 2)), what, word);
            case "latch":
                return latch(at(what, () -> new LeaderLatch(client, path, "curator")), what, word);
            case "long":
                DistributedAtomicLong number = at(what, () -> new DistributedAtomicLong(client, path, RETRY));
                return number.add(Long.parseLong(argument)).postValue();
            case "count":
                return count(at(what, () -> new SharedCount(client, path, 7)), what, word, argument);
            case "barrier":
                return barrier(at(what, () -> new DistributedBarrier(client, path)), word, argument);
            case "double":
                DistributedDoubleBarrier pair = at(what, () -> new DistributedDoubleBarrier(client, path, 1));
                return pair.enter(10, TimeUnit.SECONDS);
            case "simple":
                SimpleDistributedQueue queue = at(what, () -> new SimpleDistributedQueue(client, path));
                return queue.offer(argument.getBytes());
            case "group":
                return group(at(what, () -> new GroupMember(client, path, "curator", "here".getBytes())), word, argument);
            case "discovery":
                return discovery(path, word, argument);
            default:
                throw new IllegalArgumentException(kind);
        }
    }

    /** Asks who is first to let go; or is a holder itself, and says when it is asked. */
    static Object revocable(InterProcessMutex mutex, String word) throws Exception {
        if (word.equals("revoke")) {
            Revoker.attemptRevoke(client, mutex.getParticipantNodes().iterator().next());
            return true;
        }
        if (word.equals("release")) {
            mutex.release();
            return true;
        }
        CountDownLatch asked = new CountDownLatch(1);
        mutex.makeRevocable(lock -> asked.countDown());
        mutex.acquire();
        System.out.println(true);
        System.out.flush();
        return asked.await(20, TimeUnit.SECONDS);
    }

    static Object lock(InterProcessLock lock, String word) throws Exception {
        switch (word) {
            case "acquire":
                lock.acquire();
                return true;
            case "try":
                return lock.acquire(0, TimeUnit.SECONDS);
            default:
                lock.release();
                return true;
        }
    }

    static Object semaphore(InterProcessSemaphoreV2 semaphore, String what, String word) throws Exception {
        switch (word) {
            case "acquire":
                made.put("lease" + what, semaphore.acquire());
                return true;
            case "try":
                Lease lease = semaphore.acquire(300, TimeUnit.MILLISECONDS);
                if (lease != null) {
                    made.put("lease" + what, lease);
                }
                return lease != null;
            default:
                semaphore.returnLease((Lease) made.remove("lease" + what));
                return true;
        }
    }

    static Object latch(LeaderLatch latch, String what, String word) throws Exception {
        switch (word) {
            case "acquire":
                latch.start();
                latch.await();
                return latch.hasLeadership();
            case "contenders":
                return latch.getParticipants().stream().map(Participant::getId).sorted()
                        .collect(Collectors.joining(","));
            default:
                latch.close();
                made.remove(what);
                return true;
        }
    }

    static Object count(SharedCount count, String what, String word, String argument) throws Exception {
        if (made.put("started" + what, true) == null) {
            count.start();
        }
        if (word.equals("set")) {
            count.setCount(Integer.parseInt(argument));
        }
        return count.getCount();
    }

    static Object barrier(DistributedBarrier barrier, String word, String argument) throws Exception {
        switch (word) {
            case "set":
                barrier.setBarrier();
                return true;
            case "remove":
                barrier.removeBarrier();
                return true;
            default:
                return barrier.waitOnBarrier(Long.parseLong(argument), TimeUnit.MILLISECONDS);
        }
    }

    static Object group(GroupMember member, String word, String argument) throws Exception {
        switch (word) {
            case "join":
                member.start();
                return true;
            case "members":
                // Its cache says nothing when it has seen a change.
                while (member.getCurrentMembers().size() != Integer.parseInt(argument)) {
                    Thread.sleep(5);
                }
                return String.join(",", new TreeMap<>(member.getCurrentMembers()).keySet());
            default:
                member.close();
                return true;
        }
    }

    static Object discovery(String path, String word, String argument) throws Exception {
        ServiceDiscovery<Void> services = at("discovery" + path, () -> {
            ServiceDiscovery<Void> made = ServiceDiscoveryBuilder.builder(Void.class).client(client).basePath(path).build();
            made.start();
            return made;
        });
        if (word.equals("register")) {
            services.registerService(ServiceInstance.<Void>builder().name(argument).id("theirs").address("10.0.0.2")
                    .port(81).uriSpec(new UriSpec("http://{address}:{port}/")).build());
            return true;
        }
        List<String> found = services.queryForInstances(argument).stream()
                .map(instance -> instance.getId() + "=" + instance.buildUriSpec()).sorted().collect(Collectors.toList());
        return String.join(",", found);
    }
}
