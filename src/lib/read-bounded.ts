/** Reads a stream of buffers whole. Beyond the bound it throws what `tooLarge` makes, and the stream is destroyed. */
export const readBounded = async (
  body: AsyncIterable<Buffer>,
  maxBytes: number,
  tooLarge = (): Error => new Error(`the answer is larger than ${maxBytes} bytes`),
): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge(); // leaving the loop destroys the stream
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
};
