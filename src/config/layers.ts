/** Lays environment and flags over a file's tree, and fills secrets from their files. Remembers where each value is from. */
import { fileReason } from "../lib/text-file.ts";
import type { Rows, Setting } from "./settings.ts";
import { isTree, type Tree } from "./tree.ts";

export interface Sources {
  readonly file?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** By the setting's name, as in `http.listen`. */
  readonly flags?: Readonly<Record<string, GivenFlag>>;
}

export interface GivenFlag {
  /** As it is typed: `--listen`. */
  readonly name: string;
  /** Undefined when it was not. */
  readonly text: string | undefined;
}

export interface Layered {
  readonly value: Tree;
  readonly file: string | undefined;
  readonly flags: NonNullable<Sources["flags"]>;
  /** Setting -> `env SERAI_X`, `--listen (http.listen)`. What is missing here came from the file. */
  readonly origins: ReadonlyMap<string, string>;
  /** Settings whose value could not be had. */
  readonly doubtful: ReadonlySet<string>;
  readonly mistakes: readonly string[];
  readonly warnings: readonly string[];
}

/** What layering needs of a document. */
export interface Outline {
  readonly kind: "server" | "agent" | "connect";
  readonly prefix: string;
  readonly root: { readonly rows: Rows };
}

export interface Named {
  /** As in `http.listen`. */
  readonly path: string;
  readonly row: Setting;
  readonly variable: string;
}

const variableOf = (prefix: string, path: string): string =>
  `${prefix}_${path.replaceAll(".", "_").toUpperCase()}`;

/** Every row that is not part of a list, in the order of the table. */
export const settingsOf = (prefix: string, rows: Rows, above = ""): readonly Named[] =>
  Object.entries(rows).flatMap(([key, row]): readonly Named[] => {
    const path = `${above}${key}`;
    if (row.type === "list") return [];
    if (row.type === "section") return settingsOf(prefix, row.rows, `${path}.`);
    return [{ path, row, variable: variableOf(prefix, path) }];
  });

/** A secret that is one text may come from a file of its own. */
export const hasFile = (row: Setting): boolean => row.secret && row.kind.unit === "text";

/** True when a variable or flag can hold the row: maps cannot. */
export const isScalar = (row: Setting): boolean => row.kind.unit !== "map";

const setIn = (tree: Tree, path: readonly string[], value: unknown): void => {
  const [head = "", ...rest] = path;
  if (rest.length === 0) {
    tree[head] = value;
    return;
  }
  const below = tree[head] ?? {};
  if (!isTree(below)) return; // the file is wrong there, and is told so
  tree[head] = below;
  setIn(below, rest, value);
};

const getIn = (tree: Tree, path: readonly string[]): unknown => {
  let at: unknown = tree;
  for (const key of path) at = isTree(at) ? at[key] : undefined;
  return at;
};

const dropIn = (tree: Tree, path: readonly string[]): void => {
  const below = path.length === 1 ? tree : getIn(tree, path.slice(0, -1));
  if (isTree(below)) delete below[path.at(-1) ?? ""];
};

interface Layer {
  /** The text given for a setting, or for its `_file`. */
  readonly text: (named: Named, ending: "" | "_file") => string | undefined;
  readonly origin: (named: Named, ending: "" | "_file") => string;
}

const envLayer = (env: Sources["env"]): Layer => {
  const variable = (named: Named, ending: "" | "_file"): string =>
    `${named.variable}${ending.toUpperCase()}`;
  return {
    text: (named, ending) => env[variable(named, ending)],
    origin: (named, ending) => `env ${variable(named, ending)}: `,
  };
};

const flagLayer = (flags: NonNullable<Sources["flags"]>): Layer => ({
  text: (named, ending) => flags[`${named.path}${ending}`]?.text,
  origin: ({ path }, ending) => `${flags[`${path}${ending}`]?.name} (${path}${ending}): `,
});

class Laying {
  readonly tree: Tree;
  readonly origins = new Map<string, string>();
  readonly doubtful = new Set<string>();
  readonly mistakes: string[] = [];
  readonly #read: (file: string) => string;

  constructor(tree: Tree, read: (file: string) => string) {
    this.tree = structuredClone(tree);
    this.#read = read;
  }

  set(path: string, value: unknown, origin: string): void {
    setIn(this.tree, path.split("."), value);
    this.origins.set(path, origin);
    this.doubtful.delete(path);
  }

  #doubt(path: string, mistake: string): void {
    this.doubtful.add(path);
    this.mistakes.push(mistake);
  }

  /** A secret's file, named in any layer, is read at once; the layer's own text is refused beside it. */
  fill(path: string, file: unknown, origin: string): void {
    if (typeof file !== "string" || file === "") {
      this.#doubt(path, `${origin}must be a path`);
      return;
    }
    try {
      const value = this.#read(file).replace(/\r?\n$/, "");
      this.set(path, value, `${origin}the content of ${file} `);
    } catch (error) {
      this.#doubt(path, `${origin}cannot read ${file}: ${fileReason(error)}`);
    }
  }

  layer(layer: Layer, settings: readonly Named[]): void {
    for (const named of settings) this.#one(layer, named);
  }

  #one(layer: Layer, named: Named): void {
    const text = isScalar(named.row) ? layer.text(named, "") : undefined;
    const file = hasFile(named.row) ? layer.text(named, "_file") : undefined;
    if (text !== undefined && file !== undefined)
      this.#doubt(named.path, `${layer.origin(named, "_file")}is set beside the secret itself`);
    else if (file !== undefined) this.fill(named.path, file, layer.origin(named, "_file"));
    else if (text !== undefined)
      this.set(named.path, named.row.kind.fromText(text), layer.origin(named, ""));
  }

  /** The file's own layer: only the files of its secrets are left to do. */
  base(settings: readonly Named[], origin: string): void {
    for (const { path } of settings.filter((named) => hasFile(named.row))) {
      const keys = `${path}_file`.split(".");
      const file = getIn(this.tree, keys);
      if (file === undefined) continue;
      dropIn(this.tree, keys);
      if (getIn(this.tree, path.split(".")) !== undefined)
        this.#doubt(path, `${origin}${path}_file: is set beside ${path}`);
      else this.fill(path, file, `${origin}${path}_file: `);
    }
  }
}

const known = (settings: readonly Named[]): ReadonlySet<string> =>
  new Set(
    settings.flatMap(({ row, variable }) => [
      ...(isScalar(row) ? [variable] : []),
      ...(hasFile(row) ? [`${variable}_FILE`] : []),
    ]),
  );

/** The gateway's own prefix begins theirs as well. */
const ofAnotherCommand = /^SERAI_(?:AGENT|CONNECT)_/;

/** Variables with our prefix that set nothing: a slip of the pen must not go unseen. */
const strays = (document: Outline, sources: Sources, settings: readonly Named[]) => {
  const names = known(settings);
  return Object.keys(sources.env)
    .filter((name) => name.startsWith(`${document.prefix}_`) && !names.has(name))
    .filter((name) => document.kind !== "server" || !ofAnotherCommand.test(name))
    .map((name) => `env ${name}: sets nothing that ${document.kind} knows`);
};

const strayFlags = (sources: Sources, settings: readonly Named[]): readonly string[] => {
  const paths = new Set(
    settings.flatMap(({ path, row }) => [
      ...(isScalar(row) ? [path] : []),
      ...(hasFile(row) ? [`${path}_file`] : []),
    ]),
  );
  return Object.entries(sources.flags ?? {})
    .filter(([path, { text }]) => text !== undefined && !paths.has(path))
    .map(([path, { name }]) => `${name} (${path}): unknown setting`);
};

export const layersOf = (
  document: Outline,
  tree: Tree,
  sources: Sources,
  read: (file: string) => string,
): Layered => {
  const settings = settingsOf(document.prefix, document.root.rows);
  const laying = new Laying(tree, read);
  laying.base(settings, sources.file === undefined ? "" : `file ${sources.file}: `);
  laying.layer(envLayer(sources.env), settings);
  laying.layer(flagLayer(sources.flags ?? {}), settings);
  return {
    value: laying.tree,
    file: sources.file,
    flags: sources.flags ?? {},
    origins: laying.origins,
    doubtful: laying.doubtful,
    mistakes: [...laying.mistakes, ...strayFlags(sources, settings)],
    warnings: strays(document, sources, settings),
  };
};

/** One mistake with its origin: `file serai.yaml: http.listen: ...`, or `env SERAI_HTTP_LISTEN: ...`; without a file, with the flag that mends it. */
export const told = (layered: Layered, path: string, words: string): string => {
  const origin = layered.origins.get(path);
  if (origin !== undefined) return `${origin}${words}`;
  const flag = layered.flags[path];
  if (layered.file === undefined && flag) return `${flag.name} (${path}): ${words}`;
  const file = layered.file === undefined ? "" : `file ${layered.file}: `;
  return path === "" ? `${file}${words}` : `${file}${path}: ${words}`;
};
