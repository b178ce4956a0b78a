import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.servlet.http.HttpServletRequest;
import java.io.BufferedReader;
import java.net.URLDecoder;
import java.security.MessageDigest;
import java.time.Duration;
import org.apache.commons.codec.Charsets;
import org.apache.commons.codec.binary.Base64;
import org.json.JSONObject;
 
 
public class WebhookRequestValidator {
 
/**
*
* @param request
* @param acceptableDuration - The maximum genuine delay that the request can suffer from the time of Request initiated from Transmail server to that of the configured webhook url destination.
* @param secretKey - Secret key / Authentication key configured in the Transmail portal
* @throws Exception
**/
public static void authenticateWebhookContent(HttpServletRequest request, Duration acceptableDuration, byte[] secretKey)
throws Exception {
 
String producerSignature = request.getHeader("producer-signature");
String psDecoded = URLDecoder.decode(producerSignature, "UTF-8");
String sign[] = psDecoded.split(";");
 
JSONObject signJSON = new JSONObject();
 
for (int i = 0; i < sign.length; i++) {
 
String field = sign[i];
String fieldArr[] = field.split("=", 2);
signJSON.put(fieldArr[0], fieldArr[1]);
}
 
long timeSent = Long.valueOf(signJSON.getString("ts"));
long diff = System.currentTimeMillis() - timeSent;
long acceptableLimit = acceptableDuration.toMillis();
 
if (diff <= acceptableLimit) {
 
String signatureAlgorithm = signJSON.getString("s-algorithm");
String signatureReceived = signJSON.getString("s");
StringBuffer requestBody = new StringBuffer();
String value = null;
BufferedReader reader = request.getReader();
while ((value = reader.readLine()) != null) {
requestBody.append(value);
}
 
String data = requestBody.toString();
String dataDecoded = URLDecoder.decode(data, "UTF-8");
String arr[] = dataDecoded.split("=", 2);
 
String dataValue = arr[1];
String constructedSignature = getSignature(dataValue, secretKey, signatureAlgorithm);
 
byte decode1[] = Base64.decodeBase64(signatureReceived);
byte decode2[] = Base64.decodeBase64(constructedSignature);
 
if (!MessageDigest.isEqual(decode1, decode2)) {
throw new Exception("Message digest isn't equal");
}
}
}
 
private static String getSignature(String data, byte[] secretKey, String signatureAlgorithm) throws Exception {
SecretKeySpec signingKey = new SecretKeySpec(secretKey, signatureAlgorithm);
 
Mac mac = Mac.getInstance(signatureAlgorithm);
mac.init(signingKey);
 
byte[] rawHmac = mac.doFinal(data.getBytes(Charsets.UTF_8));
 
String result = Base64.encodeBase64String(rawHmac);
return result;
}
 
}
