// TransMail's sample for servlets, step by step, with nothing but the JDK: the whole header is URL-decoded before it is
// split; the body is read by lines as ISO-8859-1, as servlets do when no charset is named, and URL-decoded whole; the
// MAC is that of what follows its first `=`. Unlike the sample it does not let an old `ts` pass unchecked.
//
// The first line of standard input is the secret, and its end is the receiver's, so that it does not outlive the test.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
    static final long AGE_MAX = 5 * 60 * 1000;
    static final Pattern EVENT = Pattern.compile("\"event_name\":\\[\"([a-z_]+)\"\\]");
    static final Pattern RECIPIENT = Pattern.compile("\"to\":\\[\\{\"email_address\":\\{\"address\":\"([^\"\\\\]*)\"");

    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        byte[] secret = input.readLine().getBytes(StandardCharsets.UTF_8);
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", exchange -> answer(exchange, secret));
        server.start();
        System.out.println("{\"port\":" + server.getAddress().getPort() + "}");
        while (input.readLine() != null) {
        }
        System.exit(0);
    }

    static void answer(HttpExchange exchange, byte[] secret) throws IOException {
        int status = 200;
        try {
            String json = verified(exchange, secret);
            say(true, "", found(EVENT, json), found(RECIPIENT, json));
        } catch (Exception fault) {
            say(false, fault.toString(), "", "");
            status = 401;
        }
        exchange.sendResponseHeaders(status, -1);
        exchange.close();
    }

    static String verified(HttpExchange exchange, byte[] secret) throws Exception {
        String type = exchange.getRequestHeaders().getFirst("Content-Type");
        must("application/x-www-form-urlencoded".equals(type), "content-type: " + type);
        String header = exchange.getRequestHeaders().getFirst("producer-signature");
        Map<String, String> parts = new HashMap<>();
        for (String part : URLDecoder.decode(header, "UTF-8").split(";")) {
            String[] field = part.split("=", 2);
            parts.put(field[0], field[1]);
        }
        must(Math.abs(System.currentTimeMillis() - Long.parseLong(parts.get("ts"))) <= AGE_MAX, parts.get("ts"));

        StringBuilder body = new StringBuilder();
        var stream = new InputStreamReader(exchange.getRequestBody(), StandardCharsets.ISO_8859_1);
        BufferedReader reader = new BufferedReader(stream);
        for (String line = reader.readLine(); line != null; line = reader.readLine()) {
            body.append(line);
        }
        String json = URLDecoder.decode(body.toString(), "UTF-8").split("=", 2)[1];

        Mac mac = Mac.getInstance(parts.get("s-algorithm"));
        mac.init(new SecretKeySpec(secret, parts.get("s-algorithm")));
        byte[] ours = mac.doFinal(json.getBytes(StandardCharsets.UTF_8));
        // Lenient, like the decoder of the sample: it passes over what is not base64.
        byte[] theirs = Base64.getMimeDecoder().decode(parts.get("s"));
        must(MessageDigest.isEqual(theirs, ours), "message digest isn't equal: " + header);
        return json;
    }

    static String found(Pattern pattern, String json) {
        Matcher matcher = pattern.matcher(json);
        must(matcher.find(), "there is no " + pattern);
        return matcher.group(1);
    }

    static synchronized void say(boolean ok, String why, String event, String recipient) {
        String plain = why.replaceAll("[\"\\\\\\p{Cntrl}]", "'");
        String line = "{\"ok\":%b,\"why\":\"%s\",\"event\":\"%s\",\"recipient\":\"%s\"}";
        System.out.println(String.format(line, ok, plain, event, recipient));
    }

    static void must(boolean holds, String why) {
        if (!holds) {
            throw new IllegalArgumentException(why);
        }
    }
}
