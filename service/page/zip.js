// Reads ZIP archives whose entries are stored, not compressed, as this server writes them.

const END = 0x06054b50;
const ENTRY = 0x02014b50;

/** ArrayBuffer -> Map of name -> Uint8Array; the arrays are views, nothing is copied. */
export function entries(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end--;
  if (end < 0) throw new Error("The answer is not a ZIP archive.");
  const found = new Map();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(at, true) !== ENTRY || view.getUint16(at + 10, true) !== 0) {
      throw new Error("The archive has an entry that cannot be read.");
    }
    const [size, name, extra, comment] = [
      view.getUint32(at + 24, true),
      view.getUint16(at + 28, true),
      view.getUint16(at + 30, true),
      view.getUint16(at + 32, true),
    ];
    const local = view.getUint32(at + 42, true);
    // The local header has a name and an extra field of its own.
    const data = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    found.set(new TextDecoder().decode(new Uint8Array(buffer, at + 46, name)), new Uint8Array(buffer, data, size));
    at += 46 + name + extra + comment;
  }
  return found;
}
