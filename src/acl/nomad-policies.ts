/**
 * Policies of Nomad's servers by name, read with the service token: what JWTs of configured issuers are bound to.
 * All of the names or none: a policy that is left out because it could not be read may be the one that denies.
 */
import { GatewayError } from "../errors.ts";
import type { Servers } from "../nomad/servers.ts";
import type { Clock, Closer, Log } from "../ports.ts";
import { type Ask, away } from "./asking.ts";
import { rulesOf, saysAclsOff } from "./caller.ts";
import type { PolicySource } from "./file-source.ts";
import { type AskingOptions, createNomadAsking } from "./nomad-asking.ts";
import { Policies, policyHash, policyNamePattern, type StoredPolicy } from "./policies.ts";

export interface NomadPoliciesNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly servers: Servers;
  /** The service token: a manager's, or one that holds the policies itself. Asked before each look. */
  readonly token: () => string;
}

export interface NomadPoliciesOptions {
  /** Of the policies that bindings name. */
  readonly names: readonly string[];
  /** Milliseconds between two looks. */
  readonly pollMs?: number;
  /** Milliseconds that they count for while the servers cannot be asked. */
  readonly maxAgeMs?: number;
  readonly asking?: Partial<AskingOptions>;
}

export interface NomadPolicies extends PolicySource, Closer {
  /** Throws `identity_unavailable` until they were read, and again when they are older than they may be. */
  readonly policies: Policies;
  /** Looks now. Never rejects; true when they could be read. */
  refresh(): Promise<boolean>;
}

const defaultPollMs = 10_000;
const defaultMaxAgeMs = 30_000;

const readPolicy = async (ask: Ask, name: string): Promise<readonly StoredPolicy[]> => {
  const told = await ask(`/v1/acl/policy/${name}`);
  if (told.status === 404) return []; // as Nomad: a policy that does not exist is skipped
  if (told.status === 403 || told.status === 401)
    throw away(`does not let the service token read the policy ${name}`);
  if (saysAclsOff(told)) throw away("has ACLs turned off");
  if (told.status !== 200) throw away(`answered with status ${told.status}`);
  const rules = rulesOf(name, told.document);
  const text = JSON.stringify(rules);
  return [{ name, text, rules, hash: policyHash(name, text), index: 1 }];
};

class ServerPolicies implements NomadPolicies {
  readonly #needs: NomadPoliciesNeeds;
  readonly #read: () => Promise<Policies>;
  readonly #maxAgeMs: number;
  readonly #listeners = new Set<() => void>();
  readonly #timer: NodeJS.Timeout;
  #policies: Policies | undefined;
  #readAtMs = 0;
  #digest = "";
  #failure: GatewayError | undefined;
  #refreshing: Promise<boolean> | undefined;

  constructor(needs: NomadPoliciesNeeds, options: NomadPoliciesOptions) {
    const { names, pollMs = defaultPollMs, maxAgeMs = defaultMaxAgeMs, asking } = options;
    const bad = names.find((name) => !policyNamePattern.test(name));
    if (bad !== undefined) throw new RangeError(`${bad} is not the name of a policy`);
    this.#needs = needs;
    this.#maxAgeMs = maxAgeMs;
    const servers = createNomadAsking(needs.servers, asking);
    const wanted = [...new Set(names)];
    this.#read = () =>
      servers.ask(needs.token(), async (ask) => {
        const read = await Promise.all(wanted.map((name) => readPolicy(ask, name)));
        return new Policies(read.flat());
      });
    this.#timer = setInterval(() => void this.refresh(), pollMs).unref();
  }

  get policies(): Policies {
    if (this.#policies !== undefined && !this.#isOld()) return this.#policies;
    throw this.#failure ?? away("has not told the policies yet");
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  refresh(): Promise<boolean> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#listeners.clear();
    await this.#refreshing;
  }

  #isOld(): boolean {
    return this.#needs.clock.monotonic() - this.#readAtMs > this.#maxAgeMs;
  }

  async #refresh(): Promise<boolean> {
    const askedAtMs = this.#needs.clock.monotonic();
    try {
      this.#take(await this.#read(), askedAtMs);
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  #take(policies: Policies, askedAtMs: number): void {
    const digest = JSON.stringify(policies.all.map(({ name, hash }) => [name, hash]));
    this.#readAtMs = askedAtMs;
    this.#failure = undefined;
    if (this.#policies !== undefined && digest === this.#digest) return;
    this.#policies = policies;
    this.#digest = digest;
    this.#needs.log.info(
      { policies: policies.existing(policies.all.map(({ name }) => name)) },
      "policies read from the Nomad servers",
    );
    this.#tell();
  }

  #failed(error: unknown): void {
    this.#failure = error instanceof GatewayError ? error : away("gave no usable answer", error);
    this.#needs.log.warn(
      { err: error },
      "the policies of JWTs cannot be read from the Nomad servers",
    );
    if (this.#policies === undefined || !this.#isOld()) return;
    this.#policies = undefined;
    this.#tell(); // what was compiled from them counts no longer
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Reads the policies once, and again each `pollMs` until closed. That the servers are away does not keep it from starting. */
export const createNomadPolicies = async (
  needs: NomadPoliciesNeeds,
  options: NomadPoliciesOptions,
): Promise<NomadPolicies> => {
  const policies = new ServerPolicies(needs, options);
  await policies.refresh();
  return policies;
};
