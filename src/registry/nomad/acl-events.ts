/**
 * Events of tokens, policies and roles: rights that end are noticed at once instead of when their time in a cache is over.
 * Only a management token may see them, and one topic that a token may not see refuses its whole stream; so they have a
 * stream of their own, opened when the gateway's own token is good for it. Nothing is read out of an event but that it came.
 */
import { whileWanted } from "../../lib/abort.ts";
import type { Servers } from "../../nomad/servers.ts";
import type { Clock, Closer, Log } from "../../ports.ts";
import { type Cancel, pause, realTimers, type Timers } from "../timers.ts";
import { aclStream, type StreamLost } from "./event-stream.ts";
import { defaultBounds, type NomadFeedBounds } from "./options.ts";
import { StreamKeeper } from "./stream-keeper.ts";
import { createBackoff } from "./waits.ts";

export interface AclEventsNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly servers: Servers;
  /** What the gateway's own token is; `off`: there are no rights to change. Rejects when no server can say. */
  readonly ownKind: () => Promise<"manager" | "client" | "off">;
  /**
   * Rights have changed, or may have while no stream was open. Told soon, and for all events of a second once.
   */
  readonly changed: () => void;
  readonly timers?: Timers;
  /** From 0 to 1, for jitter. */
  readonly random?: () => number;
}

export interface AclEventsOptions extends Partial<NomadFeedBounds> {
  /** The gateway's own token, asked before each request. */
  readonly token: () => string | undefined;
  readonly region?: string;
}

/** What comes together is told together. */
const gatherMs = 50;
/** A little more than the second for which what was asked is not forgotten again. */
const tellEveryMs = 1_100;
const maxLineBytes = 1024 * 1024;
/** A token that is no manager's may be replaced at the servers. */
const askAgainMs = 600_000;

/** Calls `run` soon after the first ring, and once for all rings that come before the next may be. */
class Bell {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #run: () => void;
  #rangAtMs = Number.NEGATIVE_INFINITY;
  #cancel: Cancel | undefined;

  constructor(clock: Clock, timers: Timers, run: () => void) {
    this.#clock = clock;
    this.#timers = timers;
    this.#run = run;
  }

  ring(): void {
    if (this.#cancel !== undefined) return;
    const dueMs = this.#rangAtMs + tellEveryMs - this.#clock.monotonic();
    this.#cancel = this.#timers.after(Math.max(gatherMs, dueMs), () => {
      this.#cancel = undefined;
      this.#rangAtMs = this.#clock.monotonic();
      this.#run();
    });
  }

  silence(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}

class AclEvents implements Closer {
  readonly #needs: AclEventsNeeds;
  readonly #timers: Timers;
  readonly #backoffMs: (failures: number) => number;
  readonly #bell: Bell;
  readonly #keeper: StreamKeeper;
  readonly #life = new AbortController();
  readonly #run: Promise<void>;
  #refused = new AbortController();
  #failures = 0;
  #isTold = false;

  constructor(needs: AclEventsNeeds, { token, region, ...given }: AclEventsOptions) {
    const { clock, servers, timers = realTimers, random = Math.random } = needs;
    const bounds = { ...defaultBounds, maxLineBytes, ...given };
    this.#needs = needs;
    this.#timers = timers;
    this.#backoffMs = createBackoff(bounds, random);
    this.#bell = new Bell(clock, timers, needs.changed);
    const source = { servers, timers, token, region };
    this.#keeper = new StreamKeeper({ clock, source, backoffMs: this.#backoffMs }, bounds, {
      query: () => aclStream,
      opened: () => this.#opened(),
      take: (line, index) => {
        if (line.kind === "lost" || index !== undefined) this.#bell.ring();
      },
      ended: () => undefined,
      lost: (error) => this.#lost(error),
    });
    this.#run = this.#follow();
  }

  async close(_signal: AbortSignal): Promise<void> {
    this.#life.abort();
    this.#bell.silence();
    await this.#run;
  }

  /** Asks what the token is good for before the first stream, and again after each that was refused. */
  async #follow(): Promise<void> {
    const { signal } = this.#life;
    while (!signal.aborted) {
      const kind = await this.#kind();
      if (signal.aborted) return;
      if (kind === "manager") {
        this.#refused = new AbortController();
        await this.#keeper.run(AbortSignal.any([signal, this.#refused.signal]));
      }
      if (kind === "client") this.#tellOnce();
      const isKnown = kind === "client" || kind === "off";
      await pause(this.#timers, isKnown ? askAgainMs : this.#backoffMs(this.#failures++), signal);
    }
  }

  async #kind(): Promise<"manager" | "client" | "off" | "unknown"> {
    try {
      return await whileWanted(this.#needs.ownKind(), this.#life.signal);
    } catch {
      return "unknown"; // no server can say: the feed tells why
    }
  }

  #tellOnce(): void {
    if (!this.#isTold)
      this.#needs.log.info(
        {},
        "the gateway's own token sees no ACL events (that takes a management token): tokens and policies that change count within 30 s",
      );
    this.#isTold = true;
  }

  /** Whatever happened before was not heard. */
  #opened(): void {
    this.#failures = 0;
    this.#bell.ring();
  }

  /** The feed says what is wrong with the servers. */
  #lost({ loss, message }: StreamLost): void {
    this.#needs.log.debug({ loss }, `ACL events: ${message}`);
    if (loss === "refused" || loss === "status") this.#refused.abort();
  }
}

/** Follows until it is closed, by whoever created it. `servers` is not closed with it. */
export const followAclEvents = (needs: AclEventsNeeds, options: AclEventsOptions): Closer =>
  new AclEvents(needs, options);
