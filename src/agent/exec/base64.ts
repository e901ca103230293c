/** `base64.StdEncoding` as Go decodes it: strict padding, line ends ignored, Go's words for a fault. */
import { GoJsonError } from "../../lib/go-json.ts";

const sound = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const groupLength = 4;

/** Offset that Go names: the first foreign byte, or where the padding goes wrong. */
const faultAt = (text: string): number => {
  const foreign = text.search(/[^A-Za-z0-9+/]/);
  if (foreign < 0) return text.length - (text.length % groupLength);
  if (text[foreign] !== "=" || foreign % groupLength < 2) return foreign;
  const padded = foreign + groupLength - (foreign % groupLength);
  const wanted = "=".repeat(padded - foreign);
  const given = text.slice(foreign, padded);
  if (given === wanted) return padded;
  return given.length < wanted.length && wanted.startsWith(given) ? text.length : foreign + 1;
};

/** Throws GoJsonError. */
export const decodeBase64 = (text: string): Buffer => {
  const plain = text.replace(/[\r\n]/g, "");
  if (!sound.test(plain))
    throw new GoJsonError(`illegal base64 data at input byte ${faultAt(plain)}`);
  return Buffer.from(plain, "base64");
};
