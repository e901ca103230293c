/**
 * Tokens and policies from files. Look-ups are one hash and one map access. Changes of the files are seen within
 * `pollMs`; a bad change is reported and the state before it stays in force.
 */
import { hash } from "node:crypto";
import type { Found } from "../lib/kept.ts";
import type { Clock, Closer, Credential, Log, Principal } from "../ports.ts";
import { managementAcl } from "./acl.ts";
import {
  type AclFiles,
  AclFilesError,
  type AclState,
  readAclFiles,
  stampAclFiles,
} from "./acl-files.ts";
import type { Policies } from "./policies.ts";
import { anonymousPrincipal, isExpired, refused } from "./principals.ts";
import { hashSecret, sameHash } from "./secrets.ts";
import type { FileRole, FileToken } from "./token-file.ts";

/** A token as it is in force: roles resolved, deleted ones gone. */
export interface HeldToken {
  readonly token: FileToken;
  readonly roles: readonly { readonly ID: string; readonly Name: string }[];
  readonly principal: Principal;
  /** Base64, changes with what the token may do; says nothing of its secret. */
  readonly hash: string;
}

export type Reloaded =
  | { readonly ok: true; readonly changed: boolean }
  | { readonly ok: false; readonly faults: readonly string[] };

/** Where policies come from; `onChange` fires after each change that took effect and returns how to leave. */
export interface PolicySource {
  readonly policies: Policies;
  onChange(listener: () => void): () => void;
}

export interface FileSource extends PolicySource, Closer {
  readonly anonymous: () => Principal;
  /** Throws `permission_denied` for a secret that is nobody's or expired. */
  readonly token: (secret: string, signal?: AbortSignal, credential?: Credential) => Principal;
  /** The token of a secret, expired or not; undefined when there is none. */
  held(secret: string): HeldToken | undefined;
  /** Rises with each change; for `X-Nomad-Index`. */
  readonly index: number;
  readonly tokensIndex: number;
  /** Reads the files now (SIGHUP). */
  reload(): Promise<Reloaded>;
}

export interface FileSourceOptions extends AclFiles {
  /** Milliseconds between looks at the files. */
  readonly pollMs?: number;
}

const defaultPollMs = 1_000;

/** A role without an ID gets a stable one from its name. */
const roleId = ({ ID, Name }: FileRole): string => {
  if (ID !== undefined) return ID;
  const hex = hash("sha256", `role ${Name}`, "hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
};

const rolesOf = (token: FileToken, roles: readonly FileRole[]): readonly FileRole[] =>
  (token.Roles ?? []).flatMap(
    ({ ID, Name }) =>
      roles.find((role) => (ID === undefined ? role.Name === Name : roleId(role) === ID)) ?? [],
  );

const hold = (token: FileToken, { policies, roles }: AclState): HeldToken => {
  const linked = rolesOf(token, roles);
  const names = [...(token.Policies ?? []), ...linked.flatMap((role) => role.Policies)];
  const management = token.Type === "management";
  const principal: Principal = {
    accessorId: token.AccessorID,
    name: token.Name,
    type: token.Type,
    policies: policies.existing(names),
    acl: management ? managementAcl : policies.compile(names),
    expiresAtMs: token.ExpirationTime ? Date.parse(token.ExpirationTime) : undefined,
  };
  const { AccessorID, Name, Type, Policies: own } = token;
  return {
    token,
    roles: linked.map((role) => ({ ID: roleId(role), Name: role.Name })),
    principal,
    hash: hash("sha256", JSON.stringify([AccessorID, Name, Type, own, linked]), "base64"),
  };
};

const holdAll = (state: AclState): ReadonlyMap<string, HeldToken> =>
  new Map(state.tokens.map((token) => [token.SecretHash, hold(token, state)]));

/** What decides whether a reload changed anything. */
const digestOf = ({ policies, tokens, roles }: AclState): string =>
  hash("sha256", JSON.stringify([tokens, roles, policies.all.map((one) => one.hash)]), "hex");

const latestIndex = ({ policies, tokensIndex }: AclState): number =>
  Math.max(tokensIndex, ...policies.all.map(({ index }) => index));

declare module "../lib/kept.ts" {
  interface Found {
    /** In the files that were in force then. */
    token?: { readonly state: AclState; readonly held: HeldToken };
  }
}

class Files implements FileSource {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #options: FileSourceOptions;
  readonly #listeners = new Set<() => void>();
  #state: AclState;
  #held: ReadonlyMap<string, HeldToken>;
  #anonymous: Principal;
  #digest: string;
  #index: number;
  #stamp: string;
  /** Those of the last look: they are told once. */
  #toldFaults = "";
  #reloading: Promise<Reloaded> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    needs: { readonly clock: Clock; readonly log: Log },
    options: FileSourceOptions,
    loaded: { readonly state: AclState; readonly stamp: string },
  ) {
    this.#clock = needs.clock;
    this.#log = needs.log;
    this.#options = options;
    this.#state = loaded.state;
    this.#stamp = loaded.stamp;
    this.#held = holdAll(loaded.state);
    this.#anonymous = anonymousPrincipal(loaded.state.policies);
    this.#digest = digestOf(loaded.state);
    this.#index = latestIndex(loaded.state);
    this.#schedule();
  }

  get policies(): Policies {
    return this.#state.policies;
  }

  get index(): number {
    return this.#index;
  }

  get tokensIndex(): number {
    return this.#state.tokensIndex;
  }

  readonly anonymous = (): Principal => this.#anonymous;

  readonly token = (secret: string, _?: AbortSignal, credential?: Credential): Principal => {
    const held = this.#heldBy(credential?.found, secret);
    if (held === undefined || isExpired(held.principal, this.#clock.now())) throw refused();
    return held.principal;
  };

  held(secret: string): HeldToken | undefined {
    const presented = hashSecret(secret);
    const held = this.#held.get(presented);
    return held && sameHash(held.token.SecretHash, presented) ? held : undefined;
  }

  #heldBy(found: Found | undefined, secret: string): HeldToken | undefined {
    const state = this.#state;
    if (found?.token?.state === state) return found.token.held;
    const held = this.held(secret);
    if (found !== undefined && held !== undefined) found.token = { state, held };
    return held;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  reload(): Promise<Reloaded> {
    this.#toldFaults = ""; // whoever asks is told, again if need be
    return this.#reloadOnce();
  }

  #reloadOnce(): Promise<Reloaded> {
    this.#reloading ??= this.#reload().finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#listeners.clear();
    await this.#reloading;
  }

  async #reload(): Promise<Reloaded> {
    // Stamped before reading: a file that changes meanwhile is read again at the next look.
    this.#stamp = await stampAclFiles(this.#options);
    try {
      const state = await readAclFiles(this.#options);
      const changed = digestOf(state) !== this.#digest;
      this.#toldFaults = "";
      if (changed) this.#take(state);
      return { ok: true, changed };
    } catch (error) {
      if (!(error instanceof AclFilesError)) throw error;
      this.#stamp = ""; // what cannot be read now may be at the next look, and looks the same from outside
      this.#tellFaults(error.faults);
      return { ok: false, faults: error.faults };
    }
  }

  #tellFaults(faults: readonly string[]): void {
    const words = faults.join("\n");
    if (words === this.#toldFaults) return;
    this.#toldFaults = words;
    this.#log.error({ faults }, "the ACL files cannot be used; the ones read before stay in force");
  }

  #take(state: AclState): void {
    this.#state = state;
    this.#held = holdAll(state);
    this.#anonymous = anonymousPrincipal(state.policies);
    this.#digest = digestOf(state);
    this.#index = Math.max(latestIndex(state), this.#index + 1);
    const counts = { tokens: state.tokens.length, policies: state.policies.all.length };
    this.#log.info(counts, "ACL files read");
    for (const listener of [...this.#listeners]) this.#tell(listener);
  }

  #tell(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      this.#log.error({ err: error }, "a listener to changes of the ACL files failed");
    }
  }

  #schedule(): void {
    const look = (): void => {
      this.#look().then(
        () => this.#timer && this.#schedule(),
        (error: unknown) => {
          this.#log.error({ err: error }, "looking at the ACL files failed");
          if (this.#timer) this.#schedule();
        },
      );
    };
    this.#timer = setTimeout(look, this.#options.pollMs ?? defaultPollMs).unref();
  }

  async #look(): Promise<void> {
    if ((await stampAclFiles(this.#options)) !== this.#stamp) await this.#reloadOnce();
  }
}

/** Reads the files and keeps looking at them until closed. Throws AclFilesError with all faults. */
export const openFileSource = async (
  needs: { readonly clock: Clock; readonly log: Log },
  options: FileSourceOptions,
): Promise<FileSource> => {
  const stamp = await stampAclFiles(options);
  const state = await readAclFiles(options);
  return new Files(needs, options, { state, stamp });
};
