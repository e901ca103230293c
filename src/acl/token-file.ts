/** The tokens file: who holds which policies. Secrets are in it as digests alone. */
import { z } from "zod";
import { isUuid } from "../lib/uuid.ts";
import { policyNamePattern } from "./policies.ts";
import { readDocument } from "./policy-text.ts";
import { secretHashPattern } from "./secrets.ts";

const maxListed = 1_000;
const maxTokens = 100_000;

const uuid = z.string().refine(isUuid, "must be a UUID in lower case");
const name = z.string().regex(policyNamePattern, "must be 1 to 128 letters, digits and hyphens");
const time = z.iso.datetime({ offset: true, error: "must be a time such as 2030-01-31T12:00:00Z" });

const role = z.strictObject({
  ID: uuid.optional(),
  Name: name,
  Description: z.string().max(256).default(""),
  Policies: z.array(name).max(maxListed),
});

const roleLink = z.union(
  [
    name.transform((Name) => ({ Name, ID: undefined })),
    z.strictObject({ ID: uuid.optional(), Name: name.optional() }),
  ],
  { error: "must be a role's name, or {ID, Name}" },
);

const token = z
  .strictObject({
    AccessorID: uuid,
    Name: z.string().max(256).default(""),
    Type: z.enum(["client", "management"]),
    Policies: z.array(name).max(maxListed).nullish(),
    Roles: z.array(roleLink).max(maxListed).nullish(),
    CreateTime: time.nullish(),
    ExpirationTime: time.nullish(),
    SecretHash: z
      .string()
      .regex(
        secretHashPattern,
        "must be sha256:<64 hexadecimal digits>, as `serai token create` writes it",
      ),
  })
  .refine(
    ({ Type, Policies, Roles }) =>
      (Type === "client") === (Policies?.length ?? 0) + (Roles?.length ?? 0) > 0,
    { error: "a client token needs Policies or Roles, a management token has neither" },
  );

const tokensFile = z.strictObject({
  tokens: z.array(token).max(maxTokens).nullish(),
  roles: z.array(role).max(maxListed).nullish(),
});

export type FileToken = z.output<typeof token>;
export type FileRole = z.output<typeof role>;

export interface TokenFile {
  readonly tokens: readonly FileToken[];
  readonly roles: readonly FileRole[];
}

export type ReadTokens =
  | { readonly ok: true; readonly file: TokenFile }
  | { readonly ok: false; readonly faults: readonly string[] };

const pathOf = (keys: readonly PropertyKey[]): string =>
  keys
    .map((key, at) =>
      typeof key === "number" ? `[${key}]` : `${at === 0 ? "" : "."}${String(key)}`,
    )
    .join("");

const repeated = (values: readonly string[], what: string): readonly string[] => {
  const seen = new Set<string>();
  return values.flatMap((value, index) => {
    if (seen.has(value)) return [`${what.replace("[]", `[${index}]`)}: is given more than once`];
    seen.add(value);
    return [];
  });
};

/** What is wrong with the text of a tokens file. */
export const tokenFaults = (text: string): readonly string[] => {
  const read = readTokenFile(text);
  return read.ok ? [] : read.faults.map((fault) => `the file's ACL tokens: ${fault}`);
};

/** Parses and checks the whole file; all faults at once, each with its path, none with a digest. */
export const readTokenFile = (text: string): ReadTokens => {
  const document = readDocument(text);
  if (!document.ok) return { ok: false, faults: [document.text] };
  const parsed = tokensFile.safeParse(document.value ?? {});
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) =>
      path.length === 0 ? message : `${pathOf(path)}: ${message}`,
    );
    return { ok: false, faults };
  }
  const tokens = parsed.data.tokens ?? [];
  const roles = parsed.data.roles ?? [];
  const faults = [
    ...repeated(
      tokens.map(({ AccessorID }) => AccessorID),
      "tokens[].AccessorID",
    ),
    ...repeated(
      tokens.map(({ SecretHash }) => SecretHash),
      "tokens[].SecretHash",
    ),
    ...repeated(
      roles.map(({ Name }) => Name),
      "roles[].Name",
    ),
  ];
  return faults.length === 0 ? { ok: true, file: { tokens, roles } } : { ok: false, faults };
};
