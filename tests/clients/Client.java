// Java's HttpClient. It answers a 407 by itself, once it has an Authenticator.
import java.io.FileInputStream;
import java.io.InputStream;
import java.math.BigInteger;
import java.net.Authenticator;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    static final Map<String, String> ENV = System.getenv();

    static HttpClient client(boolean credentials) throws Exception {
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (InputStream pem = new FileInputStream(ENV.get("CA"))) {
            roots.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        String[] proxy = ENV.get("PROXY").split(":");
        HttpClient.Builder builder = HttpClient.newBuilder()
            .sslContext(tls)
            .proxy(ProxySelector.of(new InetSocketAddress(proxy[0], Integer.parseInt(proxy[1]))));
        if (credentials) {
            builder.authenticator(new Authenticator() {
                @Override
                protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication(ENV.get("PROXY_USER"), ENV.get("PROXY_PASSWORD").toCharArray());
                }
            });
        }
        return builder.build();
    }

    static void small(HttpClient client, String origin) throws Exception {
        var answer = client.send(to(origin + "/small").build(), BodyHandlers.ofString());
        System.out.println(answer.statusCode() + (answer.statusCode() == 200 ? " " + answer.body() : ""));
    }

    static HttpRequest.Builder to(String url) {
        return HttpRequest.newBuilder(URI.create(url));
    }

    static void download(String origin) throws Exception {
        var answer = client(true).send(to(origin + "/big").build(), BodyHandlers.ofInputStream());
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        byte[] part = new byte[65536];
        try (InputStream body = answer.body()) {
            for (int read; (read = body.read(part)) > 0; ) {
                digest.update(part, 0, read);
            }
        }
        String hex = String.format("%064x", new BigInteger(1, digest.digest()));
        System.out.println(answer.statusCode() + " " + hex);
    }

    static void upload(String origin) throws Exception {
        var body = HttpRequest.BodyPublishers.ofFile(Path.of(ENV.get("FILE")));
        var answer = client(true).send(to(origin + "/upload").POST(body).build(), BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.body());
    }

    public static void main(String[] args) throws Exception {
        var origins = Map.of("forward", ENV.get("HTTP"), "connect", ENV.get("HTTPS"));
        String[] scenario = ENV.get("SCENARIO").split("-");
        String origin = origins.get(scenario[scenario.length - 1]);
        if (origins.containsKey(scenario[0])) {
            small(client(true), origin);
        } else if (scenario[0].equals("auth")) {
            small(client(false), origin);
            small(client(true), origin);
        } else if (scenario[0].equals("keep")) {
            HttpClient client = client(true);
            for (int i = 0; i < 5; i++) {
                small(client, origin);
            }
        } else {
            for (String each : List.of(ENV.get("HTTP"), ENV.get("HTTPS"))) {
                if (scenario[0].equals("download")) {
                    download(each);
                } else {
                    upload(each);
                }
            }
        }
        System.exit(0);
    }
}
