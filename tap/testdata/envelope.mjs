// Writes and reads TAP envelopes with @msgpack/msgpack, an encoder that shares
// no code with ours.
//
//   node envelope.mjs            prints the golden envelopes, one "name hex" a line
//   node envelope.mjs HEX...     decodes each and prints [id, type, timestamp, payload, tag] with bytes in hex
import { encode, decode } from "@msgpack/msgpack";

const hex = (b) => Buffer.from(b).toString("hex");
const id = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const bytes = (n) => new Uint8Array(n).fill(0xab);

const golden = {
  "no payload": [id, "ping", 0, bytes(0), bytes(0)],
  "timestamp 127": [id, "ack", 127, bytes(1), bytes(24)],
  "timestamp 128": [id, "ack", 128, bytes(1), bytes(24)],
  "timestamp 65536": [id, "ack", 65536, bytes(1), bytes(24)],
  "a real timestamp": [id, "evidence_record", 1767225600000, bytes(100), bytes(24)],
  "the largest timestamp": [id, "publish", Number.MAX_SAFE_INTEGER, bytes(255), bytes(64)],
  "payload of 256 bytes": [id, "publish", 1767225600000, bytes(256), bytes(24)],
  "payload of 65536 bytes": [id, "publish", 1767225600000, bytes(65536), bytes(24)],
  "type of 32 bytes": [id, "a".repeat(32), 1, bytes(0), bytes(0)],
  "payload map": [
    id, "publish", 1767225600000,
    encode({ room: "plaza", class: "state", key: "ana/head", data: bytes(3) }), bytes(24),
  ],
};

if (process.argv.length > 2) {
  for (const h of process.argv.slice(2)) {
    const [i, type, timestamp, payload, tag] = decode(Buffer.from(h, "hex"));
    console.log(JSON.stringify([hex(i), type, timestamp, hex(payload), hex(tag)]));
  }
} else {
  for (const [name, e] of Object.entries(golden)) {
    const h = hex(encode(e));
    // Long runs of the filler are shortened, so that the file stays readable.
    console.log(`${name}\t${h.replace(/(ab){64,}/g, (run) => `[${run.length / 2}]`)}`);
  }
}
