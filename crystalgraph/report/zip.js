"use strict";

/* A zip archive of texts, each stored as it is (APPNOTE.TXT of PKWARE, 4.3: local headers, central directory, end). */

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let sum = n;
  for (let k = 0; k < 8; k++) sum = sum & 1 ? 0xedb88320 ^ (sum >>> 1) : sum >>> 1;
  return sum;
});

/** CRC-32 of bytes. */
const crc32 = (bytes) => (bytes.reduce((sum, byte) => CRC_TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0;

/**
 * An archive.
 *
 * @param files pairs of a name, which has no folders, and a text.
 * @param time of all files.
 * @returns a Blob.
 */
function zipArchive(files, time = new Date()) {
  const UTF8 = 0x0800, VERSION = 20;
  const encoder = new TextEncoder();
  const dosTime = (time.getHours() << 11) | (time.getMinutes() << 5) | (time.getSeconds() >> 1);
  const dosDate = ((Math.max(1980, time.getFullYear()) - 1980) << 9) | ((time.getMonth() + 1) << 5) | time.getDate();
  /** Numbers as little-endian bytes; pairs of size and value. */
  const header = (...fields) => Uint8Array.from(fields.flatMap(([size, value]) => Array.from({ length: size }, (_, k) => Math.floor(value / 256 ** k) % 256)));
  const parts = [], directory = [];
  let offset = 0;
  for (const [name, text] of files) {
    const [nameBytes, bytes] = [encoder.encode(name), encoder.encode(text)];
    const common = [[2, VERSION], [2, UTF8], [2, 0], [2, dosTime], [2, dosDate], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, nameBytes.length], [2, 0]];
    const local = header([4, 0x04034b50], ...common);
    directory.push(header([4, 0x02014b50], [2, VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), nameBytes);
    parts.push(local, nameBytes, bytes);
    offset += local.length + nameBytes.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = header([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** The last part of a path as a file name that no other in the list has; signs that systems refuse become "_". */
function freeName(path, taken) {
  const name = path.split(/[/\\]/).pop().replace(/[\u0000-\u001f<>:"|?*]/g, "_").replace(/^\.+/, "_") || "crystal";
  const [stem, ending] = name.includes(".") ? [name.slice(0, name.lastIndexOf(".")), name.slice(name.lastIndexOf("."))] : [name, ""];
  let free = name;
  for (let k = 2; taken.has(free); k++) free = `${stem}_${k}${ending}`;
  taken.add(free);
  return free;
}
