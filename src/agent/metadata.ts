/**
 * The node's metadata (nomad-http.md §3): static from the configuration, dynamic from the API. A change is on disk before
 * it is seen; changes are applied in their order, and those that come during a write share the next one.
 */
import { mkdir } from "node:fs/promises";
import path from "node:path";
import type { MetadataDocument } from "../documents.ts";
import { errnoOf, failed, invalidRequest } from "../errors.ts";
import { goQuote } from "../lib/go.ts";
import { isJsonObject, type Json, type JsonObject, parseJson, stringifyJson } from "../lib/json.ts";
import { readIfThere, replaceFile } from "../lib/whole-file.ts";
import type { Log } from "../ports.ts";

export interface MetadataStore {
  read(): MetadataDocument;
  /** Throws Nomad's 400 for a bad key or a bound, its 500 when it cannot be kept. Nothing is changed then. */
  apply(meta: JsonObject): Promise<MetadataDocument>;
}

/** Bounds of one node's metadata, static and dynamic together, as the gateway holds them too; Nomad has none. */
export const metadataLimits = {
  maxKeys: 256,
  maxKeyBytes: 256,
  maxValueBytes: 32 * 1024,
  maxBytes: 64 * 1024,
} as const;

const envoyImage = `docker.io/envoyproxy/envoy:v\${NOMAD_envoy_version}`;

/** What Nomad adds to the configured metadata. */
const injected: Readonly<Record<string, string>> = {
  "connect.sidecar_image": envoyImage,
  "connect.gateway_image": envoyImage,
  "connect.log_level": "info",
  "connect.proxy_concurrency": "1",
  "connect.transparent_proxy.default_uid": "101",
  "connect.transparent_proxy.default_outbound_port": "15001",
};

const keyPattern = /^[\p{ID_Start}_][\p{ID_Continue}-]*(?:\.[\p{ID_Start}_][\p{ID_Continue}-]*)*$/u;

const checkKey = (key: string): void => {
  if (key === "") throw invalidRequest("metadata keys must not be empty");
  if (Buffer.byteLength(key) > metadataLimits.maxKeyBytes)
    throw invalidRequest(
      `metadata keys must not be longer than ${metadataLimits.maxKeyBytes} bytes`,
    );
  if (!keyPattern.test(key) || key === "__proto__")
    // which no object of the gateway's may bear
    throw invalidRequest(
      `${goQuote(key)} is invalid; metadata keys must be valid dotted hcl identifiers`,
    );
};

const checkValue = (key: string, value: Json): string | null => {
  if (value === null) return null;
  const text = typeof value === "string" ? value : "";
  if (Buffer.byteLength(text) > metadataLimits.maxValueBytes)
    throw invalidRequest(
      `the value of ${goQuote(key)} is longer than ${metadataLimits.maxValueBytes} bytes`,
    );
  return text;
};

type Dynamic = ReadonlyMap<string, string | null>;

/** Keys are the caller's, so they live in a map and never meet a prototype. */
const toRecord = <T>(map: ReadonlyMap<string, T>): Readonly<Record<string, T>> => {
  const record: Record<string, T> = Object.create(null);
  for (const [key, value] of map) record[key] = value;
  return record;
};

const merged = (fixed: ReadonlyMap<string, string>, dynamic: Dynamic): Map<string, string> => {
  const meta = new Map(fixed);
  for (const [key, value] of dynamic) {
    if (value === null) meta.delete(key);
    else meta.set(key, value);
  }
  return meta;
};

const checkSize = (map: Dynamic): void => {
  if (map.size > metadataLimits.maxKeys)
    throw invalidRequest(`the node would have more than ${metadataLimits.maxKeys} metadata keys`);
  let bytes = 0;
  for (const [key, value] of map) bytes += Buffer.byteLength(key) + Buffer.byteLength(value ?? "");
  if (bytes > metadataLimits.maxBytes)
    throw invalidRequest(
      `the node would have more than ${metadataLimits.maxBytes} bytes of metadata`,
    );
};

const changed = (
  fixed: ReadonlyMap<string, string>,
  dynamic: Dynamic,
  changes: Dynamic,
): Map<string, string | null> => {
  const next = new Map(dynamic);
  for (const [key, value] of changes) {
    if (value === null && !fixed.has(key)) next.delete(key);
    else next.set(key, value);
  }
  checkSize(next);
  checkSize(merged(fixed, next));
  return next;
};

/** What was kept, checked like input; tombstones whose key is no longer static are dropped. */
const kept = (text: string, fixed: ReadonlyMap<string, string>): Map<string, string | null> => {
  const document = parseJson(text);
  const dynamic = isJsonObject(document) ? document["Dynamic"] : undefined;
  const entries = Object.entries(isJsonObject(dynamic) ? dynamic : {});
  for (const [key] of entries) checkKey(key);
  return changed(
    fixed,
    new Map(),
    new Map(entries.map(([key, value]) => [key, checkValue(key, value)])),
  );
};

/** One writer's changes, until they are on disk. */
interface Waiting {
  readonly changes: Dynamic;
  readonly resolve: (document: MetadataDocument) => void;
  readonly reject: (reason: unknown) => void;
}

export const createMetadata = async (
  needs: { readonly log: Log },
  options: { readonly dataDirectory: string; readonly meta: Readonly<Record<string, string>> },
): Promise<MetadataStore> => {
  const fixed = new Map(Object.entries({ ...injected, ...options.meta }));
  checkSize(fixed);
  const file = path.join(options.dataDirectory, "metadata.json");
  await mkdir(options.dataDirectory, { recursive: true });
  const text = await readIfThere(file);
  let dynamic: Dynamic = new Map();
  try {
    if (text !== undefined) dynamic = kept(text, fixed);
  } catch (cause) {
    throw new Error(`${file} cannot be read; move it away to start without dynamic metadata`, {
      cause,
    });
  }
  let waiting: Waiting[] = [];
  let isWriting = false;

  const documentOf = (of: Dynamic): MetadataDocument => ({
    Meta: toRecord(merged(fixed, of)),
    Dynamic: toRecord(of),
    Static: toRecord(fixed),
  });

  /** Whether the changes can be kept after those before them; a refusal is its own writer's alone. */
  const fits = (next: Dynamic, { changes, reject }: Waiting): Dynamic | undefined => {
    try {
      return changed(fixed, next, changes);
    } catch (error) {
      reject(error);
      return undefined;
    }
  };

  /** All that waits, in order, by one write of the file. */
  const applyGroup = async (group: readonly Waiting[]): Promise<void> => {
    let next = dynamic;
    const taken: { readonly writer: Waiting; readonly after: Dynamic }[] = [];
    for (const writer of group) {
      const after = fits(next, writer);
      if (after === undefined) continue;
      taken.push({ writer, after });
      next = after;
    }
    if (taken.length === 0) return;
    try {
      await replaceFile(file, stringifyJson({ Dynamic: toRecord(next) }));
    } catch (error) {
      needs.log.error({ err: error, file }, "metadata cannot be kept");
      const refusal = failed(
        `failed to persist dynamic metadata: ${errnoOf(error) ?? "unknown error"}`,
      );
      for (const { writer } of taken) writer.reject(refusal);
      return;
    }
    dynamic = next;
    for (const { writer, after } of taken) writer.resolve(documentOf(after)); // as its own change left it
  };

  const applyAll = async (): Promise<void> => {
    if (isWriting) return;
    isWriting = true;
    while (waiting.length > 0) {
      const group = waiting;
      waiting = [];
      await applyGroup(group);
    }
    isWriting = false;
  };

  return {
    read: () => documentOf(dynamic),
    async apply(meta) {
      for (const key of Object.keys(meta)) checkKey(key);
      const changes = new Map(
        Object.entries(meta).map(([key, value]) => [key, checkValue(key, value)]),
      );
      const applied = new Promise<MetadataDocument>((resolve, reject) => {
        waiting.push({ changes, resolve, reject });
      });
      void applyAll(); // tells each writer itself, and rejects never
      return applied;
    },
  };
};
