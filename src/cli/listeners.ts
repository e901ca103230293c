/** A listener that cannot be opened is told with what says where it is: a setting, or a flag. */
import { listenWords } from "./failures.ts";

/** Where a listener is to be, by what it is told by. */
type Listeners = Readonly<Record<string, { readonly host: string; readonly port: number }>>;

/** Of two at one port the one with that host; one that was given by a name has another address. */
const nameOf = (error: object, listeners: Listeners): string | undefined => {
  const all = Object.entries(listeners);
  const found =
    "port" in error && "address" in error
      ? (all.find(([, { host, port }]) => port === error.port && host === error.address) ??
        all.find(([, { port }]) => port === error.port))
      : all.find(([, { host }]) => "hostname" in error && host === error.hostname);
  return found?.[0];
};

/** Rejects as `start` does, in the words of `tell` where it is about one of the listeners. */
export const telling = async <T>(
  listeners: Listeners,
  tell: (name: string, words: string) => string,
  start: () => Promise<T>,
): Promise<T> => {
  try {
    return await start();
  } catch (error) {
    const words = error instanceof Error ? listenWords(error) : undefined;
    const name = error instanceof Error ? nameOf(error, listeners) : undefined;
    if (words === undefined || name === undefined) throw error;
    throw new Error(tell(name, words), { cause: error });
  }
};
