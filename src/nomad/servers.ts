/**
 * The Nomad servers (or any of its agents) that this gateway asks: one is current, and gives way to the next when it cannot
 * be dialled. Feed, identity and pass-through share it.
 */
import { Agent, buildConnector, type Dispatcher } from "undici";
import type { Closer } from "../ports.ts";

export interface ServersOptions {
  /** `http(s)://host:port`, at least one. */
  readonly addresses: readonly string[];
  readonly connectTimeoutMs: number;
  /** PEM texts, as they are now: each connection asks for them. Verification cannot be turned off. */
  readonly tls:
    | {
        readonly ca: string | undefined;
        readonly cert: string | undefined;
        readonly key: string | undefined;
        /** `server.<region>.nomad`. */
        readonly servername: string | undefined;
      }
    | undefined;
}

export interface Servers extends Closer {
  /** Origin of the server to ask now. */
  readonly current: string;
  readonly addresses: readonly string[];
  readonly dispatcher: Dispatcher;
  /** An origin could not be dialled: if it is still the current one, the next takes its place. */
  failed(origin: string): void;
}

/** One server after the other, the current one first, each once. */
export const originsInTurn = function* (
  servers: Pick<Servers, "current" | "addresses">,
): Generator<string, void> {
  const tried = new Set<string>();
  for (;;) {
    const origin = [servers.current, ...servers.addresses].find((one) => !tried.has(one));
    if (origin === undefined) return;
    tried.add(origin);
    yield origin;
  }
};

const given = <T extends object>(options: T): { [K in keyof T]?: NonNullable<T[K]> } =>
  // undefined members are left out, which the type says
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };

/** It keeps sessions of TLS, which end with the certificates that they began with. */
const dialler = (tls: NonNullable<ServersOptions["tls"]>, timeout: number) => {
  let connect: buildConnector.connector | undefined;
  let [ca, cert]: readonly (string | undefined)[] = [];
  return (...asked: Parameters<buildConnector.connector>): void => {
    if (connect === undefined || tls.ca !== ca || tls.cert !== cert) {
      connect = buildConnector({ allowH2: false, timeout, ...given(tls) });
      [ca, cert] = [tls.ca, tls.cert];
    }
    connect(...asked);
  };
};

export const createServers = ({ addresses, connectTimeoutMs, tls }: ServersOptions): Servers => {
  const [first] = addresses;
  if (first === undefined) throw new RangeError("no address of a Nomad server");
  let at = 0;
  const dispatcher = new Agent({
    allowH2: false,
    connect: tls === undefined ? { timeout: connectTimeoutMs } : dialler(tls, connectTimeoutMs),
  });
  const current = (): string => addresses[at] ?? first;
  return {
    get current() {
      return current();
    },
    addresses,
    dispatcher,
    failed(origin) {
      if (origin === current()) at = (at + 1) % addresses.length;
    },
    close: () => dispatcher.destroy(),
  };
};
