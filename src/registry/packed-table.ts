/**
 * A hash table from 16-byte ids to two 32-bit values in typed arrays: open addressing, linear probing, deletion by
 * backward shift. It is cut into shards that grow one by one, so growing never stalls for more than a shard's few
 * milliseconds. Ids are chosen by others, therefore the hash (HalfSipHash-1-3) is keyed per table.
 */

const shardBits = 8;
const shardCount = 1 << shardBits;
/** Id (4 words), first value + 1 (0 is an empty slot), second value: one slot lies in one or two cache lines. */
const stride = 6;
const smallestShard = 16;
const fullAt = 0.7;
const sparseAt = 0.125;

const rounds = 8;
const lengthRound = 4;
const lengthWord = 16 << 24;

export class PackedTable {
  readonly #key0: number;
  readonly #key1: number;
  readonly #shards: Uint32Array[];
  readonly #used = new Uint32Array(shardCount);
  readonly #probe = new Uint32Array(4);
  #size = 0;

  /** `seed`: eight random bytes of this process. */
  constructor(seed: Uint8Array) {
    const view = new DataView(seed.buffer, seed.byteOffset, 8);
    this.#key0 = view.getInt32(0);
    this.#key1 = view.getInt32(4);
    this.#shards = Array.from(
      { length: shardCount },
      () => new Uint32Array(smallestShard * stride),
    );
  }

  get size(): number {
    return this.#size;
  }

  get shards(): number {
    return shardCount;
  }

  /** Bytes held by the slots. */
  get bytes(): number {
    return this.#shards.reduce((sum, shard) => sum + shard.byteLength, 0);
  }

  /** Copies both values of an id into `values`; false when it is not held. */
  get(words: Uint32Array, values: Uint32Array): boolean {
    const hash = this.#hash(words);
    const shard = this.#shard(hash);
    const at = slotOf(shard, words, hash);
    const first = shard[at + 4] ?? 0;
    if (first === 0) return false;
    values[0] = first - 1;
    values[1] = shard[at + 5] ?? 0;
    return true;
  }

  /** Adds an id or replaces its values. */
  set(words: Uint32Array, first: number, second: number): void {
    const hash = this.#hash(words);
    const number = hash >>> (32 - shardBits);
    let shard = this.#shard(hash);
    let at = slotOf(shard, words, hash);
    if (shard[at + 4] === 0) {
      if (((this.#used[number] ?? 0) + 1) * stride > shard.length * fullAt) {
        shard = this.#resize(number, shard.length * 2);
        at = slotOf(shard, words, hash);
      }
      shard.set(words, at);
      this.#count(number, 1);
    }
    shard[at + 4] = first + 1;
    shard[at + 5] = second;
  }

  /** False when the id was not held. */
  delete(words: Uint32Array): boolean {
    const hash = this.#hash(words);
    const number = hash >>> (32 - shardBits);
    const shard = this.#shard(hash);
    const at = slotOf(shard, words, hash);
    if (shard[at + 4] === 0) return false;
    this.#closeGap(shard, at);
    this.#count(number, -1);
    const used = this.#used[number] ?? 0;
    if (shard.length > smallestShard * stride && used * stride < shard.length * sparseAt)
      this.#resize(number, shard.length / 2);
    return true;
  }

  /** Deletes from one shard what `isStale` says; each deleted entry is told once. */
  sweep(number: number, isStale: (first: number, second: number) => boolean): void {
    const old = this.#shards[number];
    if (old === undefined) throw new RangeError(`there is no shard ${number}`);
    const kept = new Uint32Array(old.length);
    let removed = 0;
    for (let at = 0; at < old.length; at += stride) {
      const first = old[at + 4] ?? 0;
      if (first === 0) continue;
      if (isStale(first - 1, old[at + 5] ?? 0)) removed++;
      else this.#move(old, at, kept);
    }
    if (removed === 0) return;
    this.#shards[number] = kept;
    this.#count(number, -removed);
  }

  #count(shard: number, by: number): void {
    this.#used[shard] = (this.#used[shard] ?? 0) + by;
    this.#size += by;
  }

  #shard(hash: number): Uint32Array {
    const shard = this.#shards[hash >>> (32 - shardBits)];
    if (shard === undefined) throw new RangeError("a hash has 32 bits");
    return shard;
  }

  #resize(number: number, length: number): Uint32Array {
    const old = this.#shards[number] ?? new Uint32Array(0);
    const grown = new Uint32Array(length);
    for (let at = 0; at < old.length; at += stride)
      if (old[at + 4] !== 0) this.#move(old, at, grown);
    this.#shards[number] = grown;
    return grown;
  }

  /** Copies the entry at `from` to where it belongs in `target`. */
  #move(source: Uint32Array, from: number, target: Uint32Array): void {
    const at = slotOf(target, this.#load(source, from), this.#hash(this.#probe));
    for (let word = 0; word < stride; word++) target[at + word] = source[from + word] ?? 0;
  }

  #load(shard: Uint32Array, at: number): Uint32Array {
    for (let word = 0; word < 4; word++) this.#probe[word] = shard[at + word] ?? 0;
    return this.#probe;
  }

  /** Moves later entries of the run back over the slot at `gap`, so that no probe ends too early. */
  #closeGap(shard: Uint32Array, gap: number): void {
    let hole = gap;
    let at = next(shard, gap);
    while (shard[at + 4] !== 0) {
      const home = homeOf(shard, this.#hash(this.#load(shard, at)));
      if (distance(shard, home, at) >= distance(shard, hole, at)) {
        shard.copyWithin(hole, at, at + stride);
        hole = at;
      }
      at = next(shard, at);
    }
    shard.fill(0, hole, hole + stride);
  }

  /** HalfSipHash-1-3 of the four words. */
  #hash(words: Uint32Array): number {
    let v0 = this.#key0;
    let v1 = this.#key1;
    let v2 = 0x6c796765 ^ v0;
    let v3 = 0x74656462 ^ v1;
    for (let round = 0; round < rounds; round++) {
      const word =
        round < lengthRound ? (words[round] ?? 0) | 0 : round === lengthRound ? lengthWord : 0;
      v3 ^= word;
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      v0 ^= word;
      if (round === lengthRound) v2 ^= 0xff;
    }
    return (v1 ^ v3) >>> 0;
  }
}

const next = (shard: Uint32Array, at: number): number =>
  at + stride === shard.length ? 0 : at + stride;

const distance = (shard: Uint32Array, from: number, to: number): number =>
  to >= from ? to - from : to - from + shard.length;

/** Slots of a shard are a power of two; its number came from the hash's upper bits. */
const homeOf = (shard: Uint32Array, hash: number): number =>
  (hash & (shard.length / stride - 1)) * stride;

/** Where an id is, or the empty slot where it would go. */
const slotOf = (shard: Uint32Array, words: Uint32Array, hash: number): number => {
  let at = homeOf(shard, hash);
  while (
    shard[at + 4] !== 0 &&
    (shard[at] !== words[0] ||
      shard[at + 1] !== words[1] ||
      shard[at + 2] !== words[2] ||
      shard[at + 3] !== words[3])
  )
    at = next(shard, at);
  return at;
};
