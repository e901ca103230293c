/** Who follows the feed, each with the index it was told last: live changes go to all, a picture to those that need one. */
import type { Change, ResyncReason, Sink } from "../feed.ts";

interface Follower {
  readonly sink: Sink;
  /** `waiting`: for its first picture; `filling`: one is being told; `live`. */
  state: "waiting" | "filling" | "live";
  wasWhole: boolean;
  index: number;
}

export class Audience {
  readonly #followers = new Set<Follower>();

  get isWaiting(): boolean {
    for (const { state } of this.#followers) if (state === "waiting") return true;
    return false;
  }

  get size(): number {
    return this.#followers.size;
  }

  join(sink: Sink): () => void {
    const follower: Follower = { sink, state: "waiting", wasWhole: false, index: 0 };
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  leave(): void {
    this.#followers.clear();
  }

  /** A picture begins: for everybody, or for those alone that wait for their first. */
  begin(reason: ResyncReason, index: number, whom: "all" | "waiting"): void {
    for (const follower of this.#followers) {
      if (whom === "waiting" && follower.state !== "waiting") continue;
      follower.state = "filling";
      follower.index = index;
      follower.sink.begin(follower.wasWhole ? reason : "start");
    }
  }

  /** Part of the picture. */
  fill(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    for (const { state, sink, index } of this.#followers)
      if (state === "filling") sink.apply(index, changes);
  }

  complete(): void {
    for (const follower of this.#followers) {
      if (follower.state !== "filling") continue;
      follower.state = "live";
      follower.wasWhole = true;
      follower.sink.complete(follower.index);
    }
  }

  /** Changes of one index, as they come; a follower that was told a later one is past them. */
  tell(index: number, changes: readonly Change[]): void {
    if (changes.length === 0) return;
    for (const follower of this.#followers) {
      if (follower.state === "waiting" || index <= follower.index) continue;
      follower.index = index;
      follower.sink.apply(index, changes);
    }
  }

  /** Nobody needs to be told this index: its line need not be read. */
  isPast(index: number): boolean {
    for (const follower of this.#followers)
      if (follower.state !== "waiting" && index > follower.index) return false;
    return true;
  }
}
