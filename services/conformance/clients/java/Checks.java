import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/**
 * The frame of the program that runs Apache Kafka's own client against a broker.
 *
 * <pre>
 *   Client checks BROKERS                         runs every check, and prints a line for each
 *   Client member BROKERS GROUP TOPIC PROTOCOL    is a member of a group until its standard input ends
 * </pre>
 *
 * The lines are those that the other languages' programs print too; the Go package conformance reads them.
 */
final class Checks {
    /** How long one check may take. */
    static final long LIMIT_SECONDS = 60;

    static final long FIRST_TIMESTAMP = Long.parseLong(System.getenv("FIRST_TIMESTAMP"));

    private static final PrintStream OUT = System.out;
    private static final PrintStream ERR = System.err;

    private Checks() {
    }

    interface Check {
        void run() throws Exception;
    }

    static synchronized void say(Object... words) {
        StringBuilder line = new StringBuilder();
        for (Object word : words) {
            line.append(line.length() == 0 ? "" : " ").append(word);
        }
        OUT.println(line.toString().replace('\n', ' '));
        OUT.flush();
    }

    /** Reports the lines of the log that are warnings, and writes all to the standard error. Has to come before the first logger. */
    static void watchLog() {
        System.setErr(new PrintStream(new OutputStream() {
            private final StringBuilder line = new StringBuilder();

            @Override
            public synchronized void write(int b) {
                ERR.write(b);
                if (b != '\n') {
                    line.append((char) b);
                    return;
                }
                ERR.flush();
                String text = line.toString();
                line.setLength(0);
                if (text.contains("] WARN ") || text.contains("] ERROR ")) {
                    say("log", text);
                }
            }
        }, true));
    }

    static void runAll(Map<String, Check> checks) {
        checks.forEach((name, check) -> {
            try {
                check.run();
                say("ok", name);
            } catch (Throwable e) { // whatever it is, it is the check's result
                e.printStackTrace(ERR);
                say("FAIL", name + ":", e);
            }
        });
    }

    static Map<String, Check> named() {
        return new LinkedHashMap<>();
    }

    static void want(String what, Object got, Object wanted) {
        if (!Objects.equals(got, wanted)) {
            throw new AssertionError(what + ": " + got + ", want " + wanted);
        }
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static byte[] key(int i) {
        return i % 10 == 3 ? null : bytes("key " + i);
    }

    static byte[] value(int i) {
        return i % 10 == 7 ? null : bytes("value " + i + " " + "x".repeat(100));
    }

    static List<Header> headers(int i) {
        return List.of(new RecordHeader("n", bytes(Integer.toString(i))), new RecordHeader("null", (byte[]) null));
    }

    /** Fails unless a record is the i-th of those that every program writes. */
    static void same(int i, ConsumerRecord<byte[], byte[]> r) {
        want("key of record " + i, Arrays.toString(r.key()), Arrays.toString(key(i)));
        want("value of record " + i, Arrays.toString(r.value()), Arrays.toString(value(i)));
        want("headers of record " + i, List.of(r.headers().toArray()), headers(i));
        want("timestamp of record " + i, r.timestamp(), FIRST_TIMESTAMP + i);
    }
}
