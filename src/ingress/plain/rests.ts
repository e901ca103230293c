/**
 * What callers say of themselves: all of a head but its first line, the same with nearly each request, and often with each connection. It is
 * read once for all connections of one peer on which it is said, and kept while one of them is there: no longer, it names a secret.
 */
import { copyOf, type Fields, readFields } from "./head.ts";

export interface Rest {
  /** The empty line at its end included. */
  readonly text: string;
  /** Undefined: they are not a plain request's. */
  readonly fields: Fields | undefined;
}

interface Shared extends Rest {
  readonly key: string;
  users: number;
}

const breakLength = 2;

export const readRest = (text: string): Rest => ({
  text,
  fields: readFields(text.slice(0, -breakLength)),
});

export class Rests {
  readonly #all = new Map<string, Shared>();

  /** To be given back. What is read of the same from the same peer is the same object. */
  take(peer: string, text: string): Rest {
    const asked = `${peer}\n${text}`;
    let rest = this.#all.get(asked);
    if (rest === undefined) {
      const key = copyOf(asked);
      rest = { ...readRest(key.slice(peer.length + 1)), key, users: 0 };
      this.#all.set(key, rest);
    }
    rest.users += 1;
    return rest;
  }

  giveBack(taken: Rest): void {
    const rest = taken as Shared; // from `take` alone
    rest.users -= 1;
    if (rest.users === 0) this.#all.delete(rest.key);
  }
}
