/** Connections to one agent, bounded: a request takes one that is idle, waits for a new one, or for whichever is free first. */
import type { Duplex } from "node:stream";
import { Bag } from "../lib/bag.ts";
import { isVisible } from "../lib/visible.ts";
import { Connection, type ConnectionOptions, type Receiver } from "./connection.ts";
import type { Intake } from "./intake.ts";

/** Opens a connection whose bytes go to the intake; calls back once. */
export type Open = (
  intake: Intake,
  opened: (error: Error | null, socket: Duplex | null) => void,
) => void;

export interface PoolOptions extends ConnectionOptions {
  readonly connections: number;
  /** What they are for, in a refusal's words: `short calls`. */
  readonly purpose: string;
}

export interface Request {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** Headers that other requests have as well. */
  readonly shared?: HeaderLines;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

/** Who asks. */
export interface Asker extends Receiver {
  /** The request is on its way: it waits for a connection no more. */
  sent?(): void;
}

/** One request, while it waits and while it is answered. */
export interface Asked {
  /** After the receiver's `data` returned false. */
  resume(): void;
  /** The receiver is told nothing more. */
  abort(): void;
}

export interface PoolStats {
  readonly running: number;
  readonly waiting: number;
}

export interface Pool {
  request(request: Request, asker: Asker): Asked;
  readonly stats: PoolStats;
  /** Requests wait for others to be over: there are as many connections as there may be. */
  readonly isShort: boolean;
  /** All connections that there may be, in a refusal's words. */
  readonly bound: string;
  /** Ends the connections that nobody uses: where one was dead, they may be. What is asked next goes over one that is alive. */
  endIdle(): void;
  /** Takes no more; what was asked for is answered. */
  close(): void;
  /** Ends everything; who waits is told `reason`. */
  destroy(reason: Error): void;
}

const improper = "a request to an agent may hold visible ASCII alone";

const proper = (text: string): string => {
  if (!isVisible(text)) throw new RangeError(improper);
  return text;
};

/** Headers as they are sent, looked at and written once. Throws RangeError for what would be another request in the agent's eyes. */
export class HeaderLines {
  readonly text: string;

  constructor(headers: Readonly<Record<string, string>>) {
    // joined, not added up: it is kept, and a sum would keep all of its parts
    this.text = Object.entries(headers)
      .map(([name, value]) => `${name}: ${proper(value)}\r\n`)
      .join("");
  }
}

/** The request's bytes as latin1. Throws RangeError as above. */
export const requestText = (
  host: string,
  { method, path, shared, headers, body }: Request,
): string => {
  let fields = shared?.text ?? "";
  let given = path; // looked at once: most of what a look costs is its beginning
  for (const name in headers) {
    const value = headers[name] ?? "";
    given += value;
    fields += `${name}: ${value}\r\n`;
  }
  if (path.includes(" ")) throw new RangeError(improper);
  proper(given);
  const bytes = body === undefined ? "" : Buffer.from(body).toString("latin1");
  const length = body === undefined ? "" : `Content-Length: ${bytes.length}\r\n`;
  return `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${fields}${length}\r\n${bytes}`;
};

class Ticket implements Asked {
  #text: string;
  readonly receiver: Asker;
  readonly #leave: (ticket: Ticket) => void;
  connection: Connection | undefined;

  constructor(text: string, receiver: Asker, leave: (ticket: Ticket) => void) {
    this.#text = text;
    this.receiver = receiver;
    this.#leave = leave;
  }
  /** Sent once: a stream may last for days, and has no use for it. */
  takeText(): string {
    const text = this.#text;
    this.#text = "";
    return text;
  }
  resume(): void {
    this.connection?.resume();
  }
  abort(): void {
    this.#leave(this);
  }
}

/** `host` is what requests name. */
export const createPool = (open: Open, host: string, options: PoolOptions): Pool => {
  const waiting = new Set<Ticket>();
  const running = new Bag<Connection>();
  const idle: Connection[] = [];
  let opening = 0;
  let isClosed = false;

  const leave = (ticket: Ticket): void => {
    if (waiting.delete(ticket)) return;
    const { connection, receiver } = ticket;
    if (connection?.serves(receiver)) connection.destroy();
  };

  const closed = (connection: Connection): void => {
    running.delete(connection);
    const at = idle.indexOf(connection);
    if (at >= 0) idle.splice(at, 1);
    pump();
  };

  const free = (connection: Connection): void => {
    running.delete(connection);
    if (isClosed && waiting.size === 0) {
      connection.destroy();
      return;
    }
    idle.push(connection);
    pump();
  };

  const run = (ticket: Ticket, connection: Connection): void => {
    running.add(connection);
    ticket.connection = connection;
    ticket.receiver.sent?.();
    connection.send(ticket.takeText(), ticket.receiver);
  };

  const give = (connection: Connection): void => {
    const [ticket] = waiting;
    if (ticket === undefined) {
      free(connection);
      return;
    }
    waiting.delete(ticket);
    run(ticket, connection);
  };

  const dial = (): void => {
    opening += 1;
    const connection = new Connection(options, { idle: free, closed });
    open(connection.intake, (error, socket) => {
      opening -= 1;
      if (socket) {
        connection.open(socket);
        give(connection);
        return;
      }
      const [ticket] = waiting;
      if (ticket === undefined) return;
      waiting.delete(ticket);
      ticket.receiver.failed(error);
      pump();
    });
  };

  /** Idle connections first, then as many new ones as there are requests for them. */
  const pump = (): void => {
    while (waiting.size > 0) {
      const connection = idle.pop();
      if (connection === undefined) break;
      give(connection);
    }
    while (waiting.size > opening && running.size + opening < options.connections) dial();
  };

  const endIdle = (): void => {
    for (const connection of [...idle]) connection.destroy();
  };

  return {
    endIdle,
    request(request, asker) {
      const ticket = new Ticket(requestText(host, request), asker, leave);
      const connection = idle.pop(); // none is idle while others wait
      if (connection !== undefined) {
        run(ticket, connection);
        return ticket;
      }
      waiting.add(ticket);
      pump();
      return ticket;
    },
    get stats() {
      return { running: running.size, waiting: waiting.size };
    },
    get isShort() {
      return waiting.size > opening;
    },
    bound: `all ${options.connections} for ${options.purpose}`,
    close() {
      isClosed = true;
      endIdle();
    },
    destroy(reason) {
      isClosed = true;
      const left = [...waiting].map(({ receiver }) => receiver);
      waiting.clear();
      for (const connection of [...idle, ...running]) left.push(...connection.destroy());
      for (const receiver of left) receiver.failed(reason);
    },
  };
};
