// Jakarta Mail as Debian ships it: STARTTLS required, and TLS at once.
import jakarta.mail.Message;
import jakarta.mail.Session;
import jakarta.mail.Transport;
import jakarta.mail.internet.InternetAddress;
import jakarta.mail.internet.MimeMessage;
import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Properties;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class JakartaMail {
    public static void main(String[] arguments) throws Exception {
        Properties starttls = properties("PORT_STARTTLS");
        starttls.put("mail.smtp.starttls.enable", "true");
        starttls.put("mail.smtp.starttls.required", "true");
        starttls.put("mail.smtp.dsn.notify", "SUCCESS,FAILURE");
        starttls.put("mail.smtp.dsn.ret", "HDRS");
        send(starttls, "starttls", "emailapikey", System.getenv("API_KEY"));
        Properties tls = properties("PORT_TLS");
        tls.put("mail.smtp.ssl.enable", "true");
        send(tls, "tls", System.getenv("FROM"), System.getenv("PASSWORD"));
    }

    static Properties properties(String port) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (FileInputStream file = new FileInputStream(System.getenv("CA_FILE"))) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        Properties properties = new Properties();
        properties.put("mail.smtp.host", System.getenv("HOST"));
        properties.put("mail.smtp.port", System.getenv(port));
        properties.put("mail.smtp.auth", "true");
        properties.put("mail.smtp.ssl.checkserveridentity", "true");
        properties.put("mail.smtp.ssl.socketFactory", context.getSocketFactory());
        return properties;
    }

    static void send(Properties properties, String way, String user, String password) throws Exception {
        Session session = Session.getInstance(properties);
        MimeMessage message = new MimeMessage(session);
        message.setFrom(new InternetAddress(System.getenv("FROM")));
        message.setRecipients(Message.RecipientType.TO, System.getenv("TO"));
        message.setSubject("jakarta " + way);
        message.setText("Gr\u00fc\u00dfe\r\n.\r\n", "utf-8");
        try (Transport transport = session.getTransport("smtp")) {
            transport.connect(user, password);
            transport.sendMessage(message, message.getAllRecipients());
        }
    }
}
