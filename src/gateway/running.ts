/** A gateway's life after it listens: its settings are read again, and it drains. */
import { setImmediate as turn, setTimeout as wait } from "node:timers/promises";
import type { ServerConfig } from "../config/server-schema.ts";
import type { Ledger } from "../live/ledger.ts";
import type { Audit } from "../observe/audit.ts";
import type { OpenLog } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Log } from "../ports.ts";
import type { Callers } from "./callers.ts";
import type { ClientTls } from "./client-tls.ts";
import type { Door } from "./doors.ts";
import type { Identity } from "./identity.ts";
import type { Home, ServerTokens } from "./registry.ts";
import type { TunnelParts } from "./tunnels.ts";

/** What a running gateway is made of, for whoever reads its settings again or ends it. */
export interface Running {
  readonly config: ServerConfig;
  readonly log: OpenLog;
  readonly metrics: Metrics;
  readonly audit: Audit;
  readonly identity: Identity;
  readonly home: Home;
  readonly ledger: Ledger;
  readonly door: Door;
  readonly recheck: () => void;
  readonly tunnels: TunnelParts;
  readonly callers: Callers;
  readonly clientTls: Pick<ClientTls, "reload">;
  readonly serverTokens: ServerTokens;
  /** `is`: not ready; `isClosing`: nothing new is taken. */
  readonly draining: { is: boolean; isClosing: boolean };
}

/** False (told in the log) when a file cannot be opened again: the old one is written on. */
const reopened = (file: Pick<OpenLog, "reopen">, what: "log" | "audit log", log: Log): boolean => {
  try {
    file.reopen();
    return true;
  } catch (err) {
    log.error({ err }, `the ${what} cannot be opened again, the old file is written on`);
    return false;
  }
};

/** False (told in the log) when the settings are not sound any more: what the servers are shown stays. */
const renewed = (
  { serverTokens, log }: Running,
  read: (() => Readonly<ServerTokens>) | undefined,
): boolean => {
  try {
    const { token, serviceToken } = read?.() ?? serverTokens;
    Object.assign(serverTokens, { token, serviceToken });
    return true;
  } catch (err) {
    log.error({ err }, "settings refused, the tokens for Nomad's servers stay");
    return false;
  }
};

/** SIGHUP. */
export const reload = async (
  parts: Running,
  tokens?: () => Readonly<ServerTokens>,
): Promise<void> => {
  const { identity, door, log, audit, metrics, recheck, tunnels, callers, clientTls } = parts;
  // what servers are asked for last: it is read with what is renewed, and those that are silent hold nothing else up
  const taken = [
    reopened(log, "log", log),
    reopened(audit, "audit log", log),
    clientTls.reload(),
    renewed(parts, tokens),
    door.context?.reload() ?? true,
    tunnels.reload(),
    callers.reload(),
  ];
  const read = await identity.reload();
  const ok = read.ok && !taken.includes(false);
  metrics.reloaded(ok);
  log.info({ changed: read.ok && read.changed, ok }, "settings read again");
  recheck();
};

/**
 * What has begun when a drain begins may still need a connection through a tunnel, which an agent that was told to go refuses; so may
 * the question for changed metadata. What is not answered in time is asked for when its agent announces itself at the next start.
 */
const arriveMs = 2_000;

/** SIGTERM. */
export const drain = async ({
  config,
  log,
  draining,
  door,
  ledger,
  home,
  tunnels,
}: Running): Promise<void> => {
  const { drainDelayMs, drainMs } = config.timeouts;
  draining.is = true;
  log.info({ drainDelayMs, drainMs }, "told to stop: not ready, requests are still taken");
  await wait(drainDelayMs);
  draining.isClosing = true;
  home.embedded?.release();
  const cut = new AbortController();
  const closed = door.listener.close(cut.signal);
  const drained = ledger.drain(drainMs);
  const patienceMs = Math.min(arriveMs, drainMs);
  await Promise.all([
    ledger.arrived(patienceMs),
    home.embedded?.flushMetadata(AbortSignal.timeout(patienceMs)),
  ]);
  await turn(); // by now they have asked for it
  tunnels.hub.drain();
  await drained;
  cut.abort();
  await closed;
};
