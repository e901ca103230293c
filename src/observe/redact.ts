/** The second line of defence: secrets that slipped into a line or an argument all the same. The first is not to log them. */

export const hidden = "***";

const jwt = /\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?/g;
const bearer = /\b((?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}/gi;
const userInfo = /\b([a-z][a-z0-9+.-]{1,20}:\/\/)[^\s/@"'\\]{1,256}@/gi;
const pem = /-----BEGIN [A-Z ]*PRIVATE KEY-----.{0,8192}?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/gs;
const secretWord =
  "(?:token|secret|passwd|password|passphrase|api[_-]?key|private[_-]?key|access[_-]?key|credential|authorization)";
/** `X-Nomad-Token: ...`, `--token=...`, `DB_PASSWORD=...`, `"secret_id":"..."`, in JSON's escaped quotes too. */
const named = new RegExp(
  String.raw`([A-Za-z0-9_-]{0,64}${secretWord}[A-Za-z0-9_-]{0,64}\\?["']?\s{0,8}[:=]\s{0,8}\\?["']?)(?!\*\*\*|(?:Bearer|Basic)\s)[^\s"'\\&,;}\]]{4,}`,
  "gi",
);

/** What each of the patterns above needs to be there; most texts have none of it, and are looked at once. */
const suspicious = new RegExp(
  String.raw`-----BEGIN|\beyJ|\b(?:Bearer|Basic)\s|:\/\/|${secretWord}`,
  "i",
);

/** A text with what looks like a credential by its shape or by the word before it hidden. */
export const redactText = (text: string): string => {
  if (!suspicious.test(text)) return text;
  return text
    .replace(pem, hidden)
    .replace(jwt, hidden)
    .replace(bearer, `$1${hidden}`)
    .replace(userInfo, `$1${hidden}@`)
    .replace(named, `$1${hidden}`);
};

const uuid = /\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi;
const word = /[A-Za-z0-9+_=-]{32,}/g;
const secretFlag = new RegExp(`^--?[a-z0-9_-]{0,64}${secretWord}[a-z0-9_-]{0,64}$`, "i");

/** Long, with digits and letters of both cases: made by a machine, not by a person. */
const looksRandom = (text: string): boolean =>
  /\d/.test(text) && /[a-z]/.test(text) && (/[A-Z]/.test(text) || /^[0-9a-f]{32,}$/.test(text));

const redactArgument = (text: string): string =>
  redactText(text)
    .replace(uuid, hidden)
    .replace(word, (match) => (looksRandom(match) ? hidden : match));

const maxArguments = 64;
const maxArgumentLength = 512;

const cut = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length)}…` : text;

/**
 * A command's arguments for the audit: token-looking values, values of secret-looking flags and whole UUIDs (Nomad's
 * tokens are UUIDs) hidden, long ones cut.
 */
export const redactArguments = (argv: readonly string[]): readonly string[] => {
  const shown = argv
    .slice(0, maxArguments)
    .map((argument, at) =>
      secretFlag.test(argv[at - 1] ?? "")
        ? hidden
        : cut(redactArgument(cut(argument, 4096)), maxArgumentLength),
    );
  return argv.length > maxArguments ? [...shown, `… ${argv.length - maxArguments} more`] : shown;
};

/** C1 controls, DEL, line separators and marks that turn text round: JSON lets them stand, terminals obey them. */
const unsafe = /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** A line of JSON with every character escaped that could act on a terminal or split the line. */
export const escapeControls = (line: string): string =>
  line.replace(
    unsafe,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
