// A servlet container as far as TransMail's sample needs one: header fields, and a reader that decodes as ISO-8859-1 where
// no charset is named.
import com.sun.net.httpserver.HttpServer;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.lang.reflect.Proxy;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import javax.servlet.http.HttpServletRequest;

public class Servlet {
    public static void main(String[] arguments) throws Exception {
        byte[] secret = line();
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", exchange -> {
            var reader = new BufferedReader(new InputStreamReader(exchange.getRequestBody(), StandardCharsets.ISO_8859_1));
            HttpServletRequest request = (HttpServletRequest) Proxy.newProxyInstance(
                    Servlet.class.getClassLoader(), new Class<?>[] {HttpServletRequest.class}, (self, method, given) -> {
                        switch (method.getName()) {
                            case "getHeader":
                                return exchange.getRequestHeaders().getFirst((String) given[0]);
                            case "getReader":
                                return reader;
                            default:
                                throw new UnsupportedOperationException(method.getName());
                        }
                    });
            int status = 200;
            try {
                WebhookRequestValidator.authenticateWebhookContent(request, Duration.ofMinutes(5), secret);
            } catch (Exception fault) {
                System.err.println(fault);
                status = 401;
            }
            exchange.sendResponseHeaders(status, -1);
            exchange.close();
        });
        server.start();
        System.out.println(server.getAddress().getPort());
        while (System.in.read() >= 0) {
        }
        System.exit(0);
    }

    // The first line of standard input: environments have no letters beyond ASCII in some locales.
    private static byte[] line() throws Exception {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int next = System.in.read(); next >= 0 && next != '\n'; next = System.in.read()) {
            line.write(next);
        }
        return line.toByteArray();
    }
}
