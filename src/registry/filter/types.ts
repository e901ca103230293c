/**
 * The Go types behind Nomad's documents, as far as filters can tell them apart: a missing key of a map compares false,
 * a missing field of a struct is an error, and plain JSON shows no difference between the two.
 */

export type Type =
  /** `go` is what Go calls the kind, in errors. */
  | { readonly kind: "string" | "bool" | "int" | "uint" | "float"; readonly go: string }
  /** Always empty: a secret that must not be asked about. */
  | { readonly kind: "blank" }
  /** A struct without fields to ask for (time.Time). */
  | { readonly kind: "opaque" }
  | { readonly kind: "pointer"; readonly to: Type }
  | { readonly kind: "map"; readonly of: Type }
  | { readonly kind: "list"; readonly of: Type }
  | { readonly kind: "struct"; readonly fields: ReadonlyMap<string, Type> }
  /** Go's `interface{}`: its JSON value says what it is. */
  | { readonly kind: "any" };

export type Struct = Type & { readonly kind: "struct" };

export const string: Type = { kind: "string", go: "string" };
export const bool: Type = { kind: "bool", go: "bool" };
export const int: Type = { kind: "int", go: "int" };
export const int64: Type = { kind: "int", go: "int64" };
export const uint64: Type = { kind: "uint", go: "uint64" };
export const float64: Type = { kind: "float", go: "float64" };
export const time: Type = { kind: "opaque" };
export const blank: Type = { kind: "blank" };
export const any: Type = { kind: "any" };

export const pointer = (to: Type): Type => ({ kind: "pointer", to });
export const map = (of: Type): Type => ({ kind: "map", of });
export const list = (of: Type): Type => ({ kind: "list", of });

/** Rows of field names, blank-separated, with their type. */
export const struct = (...rows: readonly (readonly [names: string, type: Type])[]): Struct => ({
  kind: "struct",
  fields: new Map(rows.flatMap(([names, type]) => names.split(" ").map((name) => [name, type]))),
});
