// Held requests as a report of 2010 describes them: a servlet on Jetty with a continuation for each request that waits, a queue of
// continuations, and a thread that resumes all of them when the job's state changes. JobStatusServlet PORT BODY.

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.continuation.Continuation;
import org.eclipse.jetty.continuation.ContinuationSupport;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.servlet.ServletHandler;
import org.eclipse.jetty.servlet.ServletHolder;
import org.eclipse.jetty.util.thread.QueuedThreadPool;

public class JobStatusServlet extends HttpServlet {
    private final Queue<Continuation> waiting = new ConcurrentLinkedQueue<>();
    private final byte[] body;

    JobStatusServlet(byte[] body) {
        this.body = body;
    }

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        Object status = request.getAttribute("status");
        if (status == null) {
            Continuation continuation = ContinuationSupport.getContinuation(request);
            if (continuation.isExpired()) {
                response.setStatus(HttpServletResponse.SC_NO_CONTENT);
                return;
            }
            continuation.setTimeout(600000);
            continuation.suspend(response);
            waiting.add(continuation);
            return;
        }
        response.setContentType("application/json");
        response.setContentLength(body.length);
        response.getOutputStream().write(body);
    }

    @Override
    protected void doPost(HttpServletRequest request, HttpServletResponse response) {
        // The monitor's listener: every continuation is resumed, and its request dispatched once more.
        for (Continuation continuation = waiting.poll(); continuation != null; continuation = waiting.poll()) {
            continuation.setAttribute("status", Boolean.TRUE);
            continuation.resume();
        }
    }

    public static void main(String[] arguments) throws Exception {
        Server server = new Server(new QueuedThreadPool(100));
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(arguments[0]));
        connector.setAcceptQueueSize(4096);
        connector.setIdleTimeout(660000);
        server.addConnector(connector);
        ServletHandler handler = new ServletHandler();
        ServletHolder holder = new ServletHolder(new JobStatusServlet(Files.readAllBytes(Paths.get(arguments[1]))));
        holder.setAsyncSupported(true);
        handler.addServletWithMapping(holder, "/*");
        server.setHandler(handler);
        server.start();
        server.join();
    }
}
