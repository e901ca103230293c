/**
 * What is known of every node. Lists tell neither port nor TLS, so a node's address comes with its events, or is asked for
 * when somebody first wants to go there: once a node at a time, kept for minutes, asked for again when it did not work.
 */

import { isUuid } from "../../lib/uuid.ts";
import type { Clock, NodeEntry } from "../../ports.ts";
import { Flights } from "../flights.ts";
import type { Timers } from "../timers.ts";
import { type AskServers, unavailable, wordsOf } from "./ask.ts";
import { type NodeFacts, readNodeDocument } from "./documents.ts";
import type { NomadFeedBounds } from "./options.ts";

export interface NodeBookNeeds {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly ask: AskServers;
}

type BookBounds = Pick<
  NomadFeedBounds,
  | "maxNodes"
  | "maxNodeBytes"
  | "addressTtlMs"
  | "addressRetryMs"
  | "maxNodeFlights"
  | "questionTimeoutMs"
>;

interface Known {
  readonly entry: NodeEntry;
  /** The picture that told it last. */
  epoch: number;
  /** Monotonic time after which the address is asked for again; -Infinity without one. */
  freshUntilMs: number;
  /** It did not work: it is not given out again before the servers were asked. */
  isSuspect: boolean;
  askedAtMs: number;
}

const negativeTtlMs = 1_500;
const maxNegative = 1_000;
const nodeTimeoutMs = 5_000;

const isSame = (a: NodeEntry, b: NodeEntry): boolean =>
  a.name === b.name && a.status === b.status && a.address === b.address && a.tls === b.tls;

/** Nodes with their addresses, as `createNomadFeed` gives them beside the feed. */
export interface NomadNodes {
  /**
   * The node with its agent's address: at once when it is known and fresh. Undefined when no server knows the node; rejects
   * with `registry_unavailable` when its address is not known and cannot be asked for.
   */
  find(id: string, signal: AbortSignal): NodeEntry | undefined | Promise<NodeEntry | undefined>;
  /** Its agent could not be dialled there: the next `find` asks the servers first. */
  unreachable(id: string): void;
  readonly size: number;
}

export class NodeBook implements NomadNodes {
  readonly #needs: NodeBookNeeds;
  readonly #bounds: BookBounds;
  readonly #known = new Map<string, Known>();
  readonly #flights: Flights<NodeEntry>;
  #epoch = 0;

  constructor(needs: NodeBookNeeds, bounds: BookBounds) {
    this.#needs = needs;
    this.#bounds = bounds;
    this.#flights = new Flights<NodeEntry>(
      {
        clock: needs.clock,
        timers: needs.timers,
        ask: (id, signal) => this.#ask(id, signal),
        observe: () => {},
      },
      {
        maxFlights: bounds.maxNodeFlights,
        negativeTtlMs,
        maxNegative,
        flightTimeoutMs: nodeTimeoutMs,
      },
    );
  }

  get size(): number {
    return this.#known.size;
  }

  /** Takes a document in. `changed` is false when the node is known just so; undefined when there is no room for it. */
  tell(facts: NodeFacts): { readonly entry: NodeEntry; readonly changed: boolean } | undefined {
    const known = this.#known.get(facts.id);
    if (!known && this.#known.size >= this.#bounds.maxNodes) return undefined;
    const entry: NodeEntry = {
      id: facts.id,
      name: facts.name,
      status: facts.status,
      address: facts.address ?? known?.entry.address ?? "",
      tls: facts.address === undefined ? (known?.entry.tls ?? false) : facts.tls,
    };
    const changed = known === undefined || !isSame(known.entry, entry);
    const now = this.#needs.clock.monotonic();
    const isAddressed = facts.address !== undefined;
    this.#flights.appeared(facts.id);
    this.#known.set(facts.id, {
      entry: changed ? entry : known.entry,
      epoch: this.#epoch,
      freshUntilMs: isAddressed
        ? now + this.#bounds.addressTtlMs
        : (known?.freshUntilMs ?? Number.NEGATIVE_INFINITY),
      // a document that gives the very address that did not work proves nothing, but it is the newest there is
      isSuspect: isAddressed ? false : (known?.isSuspect ?? false),
      askedAtMs: known?.askedAtMs ?? Number.NEGATIVE_INFINITY,
    });
    return { entry, changed };
  }

  forget(id: string): boolean {
    return this.#known.delete(id);
  }

  /** From here on, nodes count as told anew. */
  newEpoch(): void {
    this.#epoch++;
  }

  /** Drops what was not told since `newEpoch`. */
  settle(): void {
    for (const [id, { epoch }] of this.#known) if (epoch !== this.#epoch) this.#known.delete(id);
  }

  find(id: string, signal: AbortSignal): NodeEntry | undefined | Promise<NodeEntry | undefined> {
    const known = this.#known.get(id);
    if (!known) return isUuid(id) ? this.#flights.find(id, signal) : undefined;
    const now = this.#needs.clock.monotonic();
    if (!known.isSuspect && now < known.freshUntilMs) return known.entry;
    if (known.entry.address === "") return this.#flights.find(id, signal);
    // an address is better than none: it is given out while, or although, nobody answers
    if (now - known.askedAtMs < this.#bounds.addressRetryMs) return known.entry;
    const asked = this.#flights.find(id, signal).catch(() => {
      signal.throwIfAborted();
      return known.entry;
    });
    if (known.isSuspect) return asked;
    asked.catch(() => {}); // nobody waits for it
    return known.entry;
  }

  unreachable(id: string): void {
    const known = this.#known.get(id);
    if (known) known.isSuspect = true;
  }

  async #ask(id: string, signal: AbortSignal): Promise<NodeEntry | undefined> {
    const before = this.#known.get(id);
    try {
      const answer = await this.#needs.ask(
        `/v1/node/${id}`,
        { timeoutMs: this.#bounds.questionTimeoutMs, maxBytes: this.#bounds.maxNodeBytes },
        signal,
      );
      // what an event told meanwhile may be newer than the answer, and what is newer yet will be told; a list tells no address
      const now = this.#known.get(id);
      if (now === undefined && before !== undefined) return undefined;
      if (now && now.freshUntilMs !== before?.freshUntilMs && now.entry.address !== "")
        return now.entry;
      if (answer.status === 404) return undefined;
      if (answer.status !== 200)
        throw unavailable(`the servers refuse a node: ${answer.status} ${wordsOf(answer.body)}`);
      const facts = readNodeDocument(answer.body);
      if (facts?.id !== id) throw unavailable("a server's answer is no node");
      const addressed = { ...facts, address: facts.address ?? "" };
      return this.tell(addressed)?.entry ?? addressed;
    } finally {
      const known = this.#known.get(id);
      if (known) known.askedAtMs = this.#needs.clock.monotonic();
    }
  }
}
