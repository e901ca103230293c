/** A Nomad agent with one task's log: rotated files in memory, its listing, and its frames as Nomad's framer makes them. */
import type { Socket } from "node:net";
import type { Heard, Script } from "../support/faulty-agent.ts";

const maxFrameBytes = 65_536;

interface LogFile {
  readonly index: number;
  /** As they were written: each is one read of a follower that waits for it. */
  readonly writes: Buffer[];
}

const sizeOf = ({ writes }: LogFile): number => writes.reduce((sum, { length }) => sum + length, 0);

interface Place {
  index: number;
  offset: number;
}

export class NomadLog {
  readonly files: LogFile[] = [{ index: 0, writes: [] }];
  /** Told of each request before it is answered: `ls` or `logs`. */
  heard: (operation: string) => void = () => undefined;
  /** A refusal of `ls`. */
  lsRefusal: string | undefined;
  /** Bytes of a chunk on the wire at most. */
  pieceBytes = Number.POSITIVE_INFINITY;
  readonly #followers = new Set<() => void>();

  write(bytes: Buffer): void {
    this.files.at(-1)?.writes.push(bytes);
    this.flush();
  }

  /** Begins a new file, of which `kept` are left. */
  rotate(kept: number): void {
    this.files.push({ index: (this.files.at(-1)?.index ?? 0) + 1, writes: [] });
    this.prune(kept);
    this.flush();
  }
  prune(kept: number): void {
    this.files.splice(0, Math.max(0, this.files.length - kept));
  }
  flush(): void {
    for (const follower of this.#followers) follower();
  }

  readonly script: Script = (heard) => {
    const { pathname, searchParams: query } = new URL(heard.head.split(" ")[1] ?? "", "http://a");
    const operation = pathname.split("/")[4] ?? "";
    this.heard(operation);
    if (operation === "ls") this.#list(heard);
    else this.#logs(heard.socket, query);
  };

  #list({ socket }: Heard): void {
    const say = (status: string, body: string) =>
      socket.write(`HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    if (this.lsRefusal !== undefined) {
      say("403 Forbidden", this.lsRefusal);
      return;
    }
    const other = { Name: "web.stderr.0", IsDir: false, Size: 9 };
    const files = this.files.map((file) => ({
      Name: `web.stdout.${file.index}`,
      IsDir: false,
      Size: sizeOf(file),
      ModTime: "2026-11-26T02:05:06Z",
    }));
    say("200 OK", JSON.stringify([other, { Name: "web.stdout.x", IsDir: true }, ...files]));
  }

  /** Nomad's findClosest, from the start. */
  #placeAt(distance: number): Place | undefined {
    let left = distance;
    for (const file of this.files) {
      const size = sizeOf(file);
      if (left <= size) return { index: file.index, offset: left };
      left -= size;
    }
    const newest = this.files.at(-1);
    return newest && { index: newest.index, offset: sizeOf(newest) };
  }

  #logs(socket: Socket, query: URLSearchParams): void {
    const place = this.#placeAt(Number(query.get("offset")));
    if (place === undefined) {
      const body = 'task "web" not started yet. No logs available';
      socket.write(`HTTP/1.1 404 Not Found\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      return;
    }
    socket.write(
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    const send = (text: string): void => {
      const bytes = Buffer.from(text);
      const step = Math.min(this.pieceBytes, bytes.length);
      for (let at = 0; at < bytes.length; at += step) {
        const piece = bytes.subarray(at, at + step);
        socket.write(`${piece.length.toString(16)}\r\n`);
        socket.write(piece);
        socket.write("\r\n");
      }
    };
    send("{}");
    const follower = (): void => this.#follow(place, send);
    follower();
    if (query.get("follow") !== "true") {
      socket.write("0\r\n\r\n");
      return;
    }
    this.#followers.add(follower);
    socket.once("close", () => this.#followers.delete(follower));
  }

  #follow(place: Place, send: (frame: string) => void): void {
    for (;;) {
      const file = this.files.find(({ index }) => index === place.index);
      if (file) this.#drain(file, place, send);
      const next = this.files.find(({ index }) => index > place.index);
      if (next === undefined) return;
      place.index = next.index;
      place.offset = 0;
    }
  }

  /** Reads of a moment are one frame, whose offset is that behind the first of them. */
  #drain(file: LogFile, place: Place, send: (frame: string) => void): void {
    const all = Buffer.concat(file.writes);
    let behind = 0;
    const firstRead = file.writes.find(({ length }) => {
      behind += length;
      return behind > place.offset;
    });
    if (firstRead === undefined) return;
    let offset = Math.min(behind, place.offset + maxFrameBytes);
    while (place.offset < all.length) {
      const data = all.subarray(place.offset, place.offset + maxFrameBytes);
      const name = `alloc/logs/web.stdout.${file.index}`;
      send(`{"Data":"${data.toString("base64")}","File":"${name}","Offset":${offset}}`);
      place.offset += data.length;
      offset += data.length === maxFrameBytes ? maxFrameBytes : 0; // beyond the end, for what comes last
    }
  }
}
