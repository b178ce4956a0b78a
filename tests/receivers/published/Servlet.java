// A servlet container as far as TransMail's sample needs one: header fields, and a reader that decodes as ISO-8859-1 where
// no charset is named.
import com.sun.net.httpserver.HttpServer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Proxy;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import javax.servlet.http.HttpServletRequest;

public class Servlet {
    public static void main(String[] arguments) throws Exception {
        byte[] secret = System.getenv("MAILTURA_WEBHOOK_SECRET").getBytes(StandardCharsets.UTF_8);
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
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
        while (System.in.read() >= 0) {
        }
        System.exit(0);
    }
}
