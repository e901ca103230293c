/** The reference of all settings, written from the rows themselves. */
import { hasFile, isScalar } from "./layers.ts";
import type { Row, Rows, Setting } from "./settings.ts";

interface Documented {
  readonly kind: "server" | "agent" | "connect";
  readonly prefix: string;
  readonly root: { readonly rows: Rows };
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

const code = (text: string): string => `\`${text}\``;

const defaultOf = (row: Setting): string => {
  if (row.required) return "required";
  if (row.shown !== undefined) return row.shown;
  if (row.fallback === undefined) return "none";
  return code(typeof row.fallback === "string" ? row.fallback : JSON.stringify(row.fallback));
};

const settingLine = (path: string, row: Setting, variable: string | undefined): string => {
  const named = variable !== undefined && isScalar(row) ? code(variable) : "";
  const file = hasFile(row) ? ` Also from a file: ${code(`${path}_file`)}.` : "";
  const hidden = row.secret ? " Secret." : "";
  const cells = [
    code(path),
    cell(defaultOf(row)),
    cell(row.kind.unit),
    named,
    cell(`${row.about}.${hidden}${file} Must be ${row.kind.words}.`),
  ];
  return `| ${cells.join(" | ")} |`;
};

const tableHead = [
  "| setting | default | unit | environment | what it is |",
  "|---|---|---|---|---|",
];

interface Place {
  readonly path: string;
  /** Undefined inside a list: no variable reaches there. */
  readonly prefix: string | undefined;
}

const ownLines = (rows: Rows, { path, prefix }: Place): readonly string[] =>
  Object.entries(rows).flatMap(([key, row]) =>
    row.type === "setting"
      ? [settingLine(`${path}${key}`, row, prefix && `${prefix}_${key.toUpperCase()}`)]
      : [],
  );

const below = (key: string, row: Row, { path, prefix }: Place): Place => ({
  path: `${path}${key}${row.type === "list" ? "[]" : ""}.`,
  prefix:
    row.type === "list" || prefix === undefined ? undefined : `${prefix}_${key.toUpperCase()}`,
});

const tablesOf = (rows: Rows, place: Place, heading: string, about: string): readonly string[] => {
  const lines = ownLines(rows, place);
  const nested = Object.entries(rows).flatMap(([key, row]) => {
    if (row.type === "setting") return [];
    const inner = below(key, row, place);
    return tablesOf(row.rows, inner, `### ${code(inner.path.slice(0, -1))}`, row.about);
  });
  const own = lines.length === 0 ? [] : [...tableHead, ...lines, ""];
  return [heading, "", `${about}.`, "", ...own, ...nested];
};

const introduction = `<!-- Written by \`node scripts/docs.ts\` from src/config; do not edit. -->

# Settings

Files are YAML. What a file says is overridden by the environment, and that by flags. A duration is written like
\`10s\` or \`1m30s\`, a size like \`64KiB\`; in a variable, a list is written with commas. Unknown settings are refused, and
all mistakes are told at once. Each secret can also be read from a file: \`token_file\` beside \`token\`, or the variable with
\`_FILE\` behind its name. \`serai config check\` looks at a file without starting anything, \`serai config print\` shows what
is in force and where it is from.
`;

const titles = {
  server: "## `serai server`",
  agent: "## `serai agent`",
  connect: "## `serai connect`",
} as const;

/** The whole of config/reference.md. */
export const settingsReference = (documents: readonly Documented[]): string =>
  [
    introduction,
    ...documents.flatMap(({ kind, prefix, root }) =>
      tablesOf(
        root.rows,
        { path: "", prefix },
        titles[kind],
        `Variables begin with ${code(`${prefix}_`)}`,
      ),
    ),
  ]
    .join("\n")
    .replace(/\n+$/, "\n");
