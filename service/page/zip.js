// Writes ZIP archives whose entries are stored, not compressed. Files stay Blobs: nothing is copied into memory.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});
export const MOST_BYTES = 0xffffffff;

/** @param {Blob} blob */
async function crc32(blob) {
  let crc = 0xffffffff;
  const reader = blob.stream().getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return (crc ^ 0xffffffff) >>> 0;
    for (const byte of value) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  }
}

/**
 * An archive of files.
 * @param {{name: string, content: Blob}[]} files
 * @returns {Promise<Blob>}
 */
export async function zipOf(files) {
  const total = files.reduce((sum, { content }) => sum + content.size, 0);
  if (total > 0.99 * MOST_BYTES) throw new Error("The archive would be larger than 4 GB. Save the sounds one by one.");
  /** @type {BlobPart[]} */
  const parts = [];
  /** @type {BlobPart[]} */
  const directory = [];
  let [offset, listed] = [0, 0];
  for (const { name, content } of files) {
    const bytes = new TextEncoder().encode(name);
    const crc = await crc32(content);
    const local = header(0x04034b50, 30, crc, content.size, bytes.length);
    parts.push(local, bytes, content);
    const entry = header(0x02014b50, 46, crc, content.size, bytes.length, offset);
    directory.push(entry, bytes);
    offset += 30 + bytes.length + content.size;
    listed += 46 + bytes.length;
  }
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, listed, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}

/**
 * @param {number} signature
 * @param {number} length
 * @param {number} crc
 * @param {number} size
 * @param {number} nameBytes
 * @param {number} [offset] of the entry; only in the directory
 */
function header(signature, length, crc, size, nameBytes, offset) {
  const view = new DataView(new ArrayBuffer(length));
  view.setUint32(0, signature, true);
  const at = offset === undefined ? 4 : 6; // the directory says twice which version it takes
  if (offset !== undefined) view.setUint16(4, 20, true);
  view.setUint16(at, 20, true);
  view.setUint16(at + 2, 0x0800, true); // names are UTF-8
  view.setUint16(at + 8, 0x0021, true); // 1980-01-01: the same files give the same archive
  view.setUint32(at + 10, crc, true);
  view.setUint32(at + 14, size, true);
  view.setUint32(at + 18, size, true);
  view.setUint16(at + 22, nameBytes, true);
  if (offset !== undefined) view.setUint32(42, offset, true);
  return view.buffer;
}
