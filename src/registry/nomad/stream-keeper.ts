/** Keeps one event stream open: connects again, later and later while it fails, and at once when it is told to. */
import type { Clock } from "../../ports.ts";
import { pause } from "../timers.ts";
import type { ServersSource } from "./ask.ts";
import { lineIndex } from "./documents.ts";
import { followEvents, StreamLost } from "./event-stream.ts";
import type { Line } from "./lines.ts";
import type { NomadFeedBounds } from "./options.ts";

export interface KeptStream {
  /** The query of the next connection. */
  readonly query: () => string;
  /** It has said its first proper line, which `take` is told next. */
  readonly opened: () => void;
  /**
   * Each line in order, with its index (none for a heartbeat, or where it was too long to be read); a promise holds the
   * stream back, a `SyntaxError` ends it as garbled.
   */
  readonly take: (line: Line, index: number | undefined) => void | Promise<void>;
  /** A connection is over, whatever the reason. */
  readonly ended: () => void;
  /** It is over, and not because it was told to. */
  readonly lost: (error: StreamLost, how: HowLost) => void | Promise<void>;
}

export interface HowLost {
  readonly origin: string;
  readonly wasOpen: boolean;
  /** It had lasted: this is another outage. */
  readonly wasSteady: boolean;
}

export interface KeeperNeeds {
  readonly clock: Clock;
  readonly source: ServersSource;
  readonly backoffMs: (failures: number) => number;
}

export type KeeperBounds = Pick<
  NomadFeedBounds,
  "firstBeatMs" | "silenceMs" | "answerTimeoutMs" | "maxLineBytes" | "steadyMs"
>;

const reopened = new Error("the stream is opened anew");

export class StreamKeeper {
  readonly #needs: KeeperNeeds;
  readonly #bounds: KeeperBounds;
  readonly #stream: KeptStream;
  #session = new AbortController();
  #openedAtMs: number | undefined;

  constructor(needs: KeeperNeeds, bounds: KeeperBounds, stream: KeptStream) {
    this.#needs = needs;
    this.#bounds = bounds;
    this.#stream = stream;
  }

  /** It has said its first line and is not over. */
  get isOpen(): boolean {
    return this.#openedAtMs !== undefined;
  }

  /** Ends the connection that there is; the next one follows at once. */
  reopen(): void {
    this.#session.abort(reopened);
  }

  /** Until the signal aborts; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { source, backoffMs } = this.#needs;
    for (let failures = 0; !signal.aborted; failures++) {
      const how = await this.#connection(signal);
      if (how !== "failed") failures = 0;
      if (how !== "reopened") await pause(source.timers, backoffMs(failures), signal);
    }
  }

  /** One connection from its head to its end. */
  async #connection(signal: AbortSignal): Promise<"failed" | "steady" | "reopened"> {
    const { source } = this.#needs;
    const origin = source.servers.current;
    this.#session = new AbortController();
    let lost: StreamLost | undefined;
    try {
      await followEvents(
        source,
        { origin, query: this.#stream.query(), take: (line) => this.#take(line) },
        this.#bounds,
        AbortSignal.any([signal, this.#session.signal]),
      );
    } catch (error) {
      if (error instanceof StreamLost) lost = error;
    }
    const openedAtMs = this.#openedAtMs;
    this.#openedAtMs = undefined;
    this.#stream.ended();
    if (lost === undefined) return "reopened";
    const wasSteady =
      openedAtMs !== undefined &&
      this.#needs.clock.monotonic() - openedAtMs >= this.#bounds.steadyMs;
    await this.#stream.lost(lost, { origin, wasOpen: openedAtMs !== undefined, wasSteady });
    return wasSteady ? "steady" : "failed";
  }

  #take(line: Line): void | Promise<void> {
    const index = line.kind === "line" ? lineIndex(line.bytes) : undefined;
    if (this.#openedAtMs === undefined) {
      this.#openedAtMs = this.#needs.clock.monotonic();
      this.#stream.opened();
    }
    return this.#stream.take(line, index);
  }
}
