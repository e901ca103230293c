/** Values shared by many entries, counted, and addressed by a small number that is used again once nobody holds it. */
export class Interned<Value> {
  readonly #numbers = new Map<string, number>();
  readonly #keys: string[] = [];
  readonly #values: (Value | undefined)[] = [];
  readonly #holders: number[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#numbers.size;
  }

  /** The number of the value under `key`, held once more; `make` is asked for a new one. */
  hold(key: string, make: () => Value): number {
    const known = this.#numbers.get(key);
    if (known !== undefined) {
      this.#holders[known] = (this.#holders[known] ?? 0) + 1;
      return known;
    }
    const number = this.#free.pop() ?? this.#values.length;
    this.#numbers.set(key, number);
    this.#keys[number] = key;
    this.#values[number] = make();
    this.#holders[number] = 1;
    return number;
  }

  release(number: number): void {
    const holders = (this.#holders[number] ?? 0) - 1;
    if (holders < 0) throw new RangeError(`nobody holds ${number}`);
    this.#holders[number] = holders;
    if (holders > 0) return;
    this.#numbers.delete(this.#keys[number] ?? "");
    this.#keys[number] = "";
    this.#values[number] = undefined;
    this.#free.push(number);
  }

  /** Throws for a number that is not held: that would be a mistake of ours. */
  value(number: number): Value {
    const value = this.#values[number];
    if (value === undefined) throw new RangeError(`nobody holds ${number}`);
    return value;
  }
}
