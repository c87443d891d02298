import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command line tools one after the other in one virtual machine, each as its script does: in a class loader of its own, so that
 * nothing is left of the one before. Arguments: the jars that the tools are in.
 *
 * <p>A command is read from the standard input: how many words it has (an int), the words, and what the tool is to read (each a length
 * and bytes). The first word is the tool's class. The answer is the exit code (an int), and what went to standard output and error (each a
 * length and bytes).
 */
public final class Tools {
    private Tools() {
    }

    /** What a tool's call of exit throws. */
    @SuppressWarnings("serial")
    private static final class Exited extends Error {
        Exited() {
            super("exit", null, false, false);
        }
    }

    private static Integer code;

    /** What the tool wants to be done at its end: the console producer sends its last records then. */
    private static final List<Runnable> hooks = Collections.synchronizedList(new ArrayList<>());

    private static final long HOOK_MILLIS = 20_000;

    private static void runHooks() {
        for (Runnable hook : List.copyOf(hooks)) {
            Thread thread = new Thread(hook, "hook");
            thread.setDaemon(true);
            thread.start();
            try {
                thread.join(HOOK_MILLIS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private static synchronized void exit(int status, String message) {
        if (code == null) { // a tool that catches what exit throws exits again
            code = status;
        }
        throw new Exited();
    }

    public static void main(String[] args) throws Exception {
        DataInputStream commands = new DataInputStream(System.in);
        DataOutputStream answers = new DataOutputStream(System.out);
        URL[] jars = new URL[args.length];
        for (int i = 0; i < args.length; i++) {
            jars[i] = Path.of(args[i]).toUri().toURL();
        }
        Exit.setExitProcedure(Tools::exit);
        Exit.setHaltProcedure(Tools::exit);
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook)); // the machine goes on when the tool ends
        while (true) {
            List<String> words = new ArrayList<>();
            int count = 0;
            try {
                count = commands.readInt();
            } catch (EOFException e) {
                Runtime.getRuntime().halt(0); // whatever threads tools left behind
            }
            for (int i = 0; i < count; i++) {
                words.add(new String(block(commands), StandardCharsets.UTF_8));
            }
            run(jars, words, block(commands), answers);
        }
    }

    private static byte[] block(DataInputStream in) throws IOException {
        return in.readNBytes(in.readInt());
    }

    private static void run(URL[] jars, List<String> words, byte[] input, DataOutputStream answers) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        InputStream oldIn = System.in;
        PrintStream oldOut = System.out;
        PrintStream oldErr = System.err;
        System.setIn(new ByteArrayInputStream(input));
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        code = null;
        hooks.clear();
        int status = 0;
        try (URLClassLoader loader = new URLClassLoader(jars, Tools.class.getClassLoader())) {
            Thread.currentThread().setContextClassLoader(loader);
            String[] args = words.subList(1, words.size()).toArray(new String[0]);
            try {
                loader.loadClass(words.get(0)).getMethod("main", String[].class).invoke(null, (Object) args);
            } finally {
                runHooks();
            }
        } catch (InvocationTargetException e) {
            if (!(e.getCause() instanceof Exited)) {
                e.getCause().printStackTrace(); // as the virtual machine does when main throws
                status = 1;
            }
        } catch (ReflectiveOperationException e) {
            e.printStackTrace();
            status = 1;
        } finally {
            Thread.currentThread().setContextClassLoader(Tools.class.getClassLoader());
            System.out.flush();
            System.err.flush();
            System.setIn(oldIn);
            System.setOut(oldOut);
            System.setErr(oldErr);
        }
        answers.writeInt(code == null ? status : code);
        for (byte[] output : List.of(out.toByteArray(), err.toByteArray())) {
            answers.writeInt(output.length);
            answers.write(output);
        }
        answers.flush();
    }
}
