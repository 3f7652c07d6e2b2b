// The partition that the Java client chooses for each key (hexadecimal, a line each) on stdin.
// Run as a single-file program with kafka-clients on the class path; argument: partitions.

import java.util.HexFormat;
import java.util.Scanner;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

public class Murmur2Vectors {
    public static void main(String[] args) {
        int partitions = Integer.parseInt(args[0]);
        Scanner lines = new Scanner(System.in);
        while (lines.hasNextLine()) {
            byte[] key = HexFormat.of().parseHex(lines.nextLine());
            System.out.println(BuiltInPartitioner.partitionForKey(key, partitions));
        }
    }
}
