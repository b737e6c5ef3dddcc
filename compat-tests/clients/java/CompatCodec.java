import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/**
 * Reads messages by Kafka's own classes and writes them again. A line of input is
 * "request|response KEY VERSION HEX"; a line of output is the same with what was written, or with
 * an error.
 */
final class CompatCodec {
    private CompatCodec() {}

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        StringBuilder out = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", -1);
            out.append(words[0]).append(' ').append(words[1]).append(' ').append(words[2]).append(' ');
            out.append(again(words)).append('\n');
        }
        System.out.print(out);
    }

    private static String again(String[] words) {
        ApiMessageType type = ApiMessageType.fromApiKey(Short.parseShort(words[1]));
        short version = Short.parseShort(words[2]);
        ApiMessage message = words[0].equals("request") ? type.newRequest() : type.newResponse();
        try {
            ByteBuffer bytes = ByteBuffer.wrap(HexFormat.of().parseHex(words[3]));
            message.read(new ByteBufferAccessor(bytes), version);
            if (bytes.hasRemaining()) {
                return bytes.remaining() + " bytes are left";
            }
            ObjectSerializationCache cache = new ObjectSerializationCache();
            ByteBufferAccessor written = new ByteBufferAccessor(ByteBuffer.allocate(message.size(cache, version)));
            message.write(written, cache, version);
            return HexFormat.of().formatHex(written.buffer().array());
        } catch (RuntimeException error) {
            return error.toString().replace('\n', ' ');
        }
    }
}
