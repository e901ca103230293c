/**
 * THE COMPOSITION ROOT of the gateway: every part is made here, given what it needs, and closed in the reverse order.
 * A request's own way through the parts is src/journey.ts.
 */
import { authorize } from "./acl/authorize.ts";
import type { ServerConfig } from "./config/server-schema.ts";
import { openAgents } from "./gateway/agents.ts";
import { type Door, openDoor } from "./gateway/doors.ts";
import { type Identity, openIdentity } from "./gateway/identity.ts";
import { readGauges } from "./gateway/observing.ts";
import { createReadiness } from "./gateway/readiness.ts";
import { createRecorder } from "./gateway/recorder.ts";
import { type Home, openHome } from "./gateway/registry.ts";
import { createSteps } from "./gateway/steps.ts";
import { createAdmin } from "./ingress/admin.ts";
import { journey } from "./journey.ts";
import { authorityOf, isLoopback } from "./lib/addresses.ts";
import { Closers } from "./lib/closers.ts";
import { createLedger, type Ledger } from "./live/ledger.ts";
import { type Audit, createAudit } from "./observe/audit.ts";
import type { OpenLog } from "./observe/log.ts";
import { createMetrics, type Metrics } from "./observe/metrics.ts";
import type { Answer, Clock, Closer, Log, Registry } from "./ports.ts";
import { createAnswers } from "./registry/answers/answers.ts";
import { createAnnounceAnswer } from "./registry/embedded/announce.ts";

export interface Gateway extends Closer {
  /** `http(s)://host:port` of the public listener, as bound. */
  readonly url: string;
  readonly adminUrl: string;
  readonly registry: Registry &
    Pick<Home["registry"], "nodeWrites" | "pendingMetadata" | "flushMetadata" | "waiting">;
  /** SIGHUP: policies, tokens, certificates and log files are read or opened again; what is not sound stays as it was. */
  reload(): Promise<void>;
  /** SIGTERM: not ready at once, unary requests finish, live exchanges are cut when their grace is over. */
  drain(): Promise<void>;
  /** An error that nobody caught, for the metrics; audit records that wait are written before the process ends. */
  uncaught(kind: "exception" | "rejection"): void;
  /** Lines that the log left out in a flood, for the metrics. */
  suppressed(lines: number): void;
}

export interface GatewayNeeds {
  readonly clock: Clock;
  readonly log: OpenLog;
  readonly version: string;
}

/** Listens when it resolves. Rejects with what is wrong with the settings' files or addresses. */
export const createGateway = async (
  needs: GatewayNeeds,
  config: ServerConfig,
): Promise<Gateway> => {
  const closers = new Closers();
  try {
    return await assemble(needs, config, closers);
  } catch (error) {
    await closers.close(AbortSignal.abort());
    throw error;
  }
};

const assemble = async (
  { clock, log, version }: GatewayNeeds,
  config: ServerConfig,
  closers: Closers,
): Promise<Gateway> => {
  const draining = { is: false, isClosing: false };
  const metrics = createMetrics({ version, region: config.region });
  closers.defer(() => metrics.close());
  const { output } = config.audit;
  const audit = closers.own(createAudit({ clock, output, recorded: metrics.auditRecorded }));
  const identity = closers.own(await openIdentity({ clock, log, metrics }, config.acl));
  const agents = openAgents({ clock, log, metrics, closers }, config);
  const home = await openHome({ clock, log, metrics, audit, agents, closers }, config);

  const recorder = createRecorder({ metrics, audit, log, ledger: () => ledger });
  const ledger: Ledger = closers.own(
    createLedger(
      { clock, log, authenticate: identity.authenticateCredential, authorize },
      {
        maxLivePerPrincipal: config.limits.livePerPrincipal,
        onEnd: (exchange, _principal, reason) => recorder.liveEnded(exchange, reason),
        onRecheck: metrics.reauthorized,
      },
    ),
  );
  const recheck = (): void => {
    ledger.recheck().catch((err: unknown) => log.error({ err }, "recheck of rights failed"));
  };
  closers.defer(identity.source.onChange(recheck));

  const { name, region, datacenter } = config;
  const self = { name, region, datacenter, version, address: "" };
  const answers: Readonly<Record<string, Answer>> = {
    ...createAnswers(
      { registry: home.registry, clock, self },
      {
        unwell: () => (draining.is ? "shutting down" : undefined),
        isEnding: () => draining.isClosing,
      },
    ),
    ...identity.answers,
    "serai.announce": createAnnounceAnswer(home.registry.announce),
  };
  const steps = createSteps(
    { clock, metrics, identity, agents, home, ledger, recorder, answers },
    config,
  );
  const door = await openDoor(
    {
      log,
      travel: journey(steps),
      started: recorder.started,
      ended: recorder.ended,
      isDraining: () => draining.is,
      limited: metrics.limited,
    },
    config,
  );
  closers.own(door.listener);
  self.address = door.listener.address;
  readGauges(metrics, { ...home, ...door, reaches: agents.reaches, ledger, audit, log });
  const { listen, token } = config.admin;
  const admin = closers.own(
    await createAdmin(
      {
        log,
        exposition: metrics.exposition,
        contentType: metrics.contentType,
        checks: createReadiness({ config, ...home, audit, metrics, isDraining: () => draining.is }),
        live: () => ledger.list(),
      },
      { listen, token, loopback: isLoopback(listen.host) },
    ),
  );
  const parts: Parts = {
    config,
    log,
    metrics,
    audit,
    identity,
    home,
    ledger,
    door,
    recheck,
    draining,
  };
  return {
    url: door.url,
    adminUrl: `http://${authorityOf(listen.host, admin.address.port)}`,
    registry: home.registry,
    reload: () => reload(parts),
    drain: () => drain(parts),
    suppressed: metrics.linesSuppressed,
    uncaught: (kind) => {
      metrics.uncaught(kind);
      audit.flush();
    },
    close: (signal) => closers.close(signal),
  };
};

interface Parts {
  readonly config: ServerConfig;
  readonly log: OpenLog;
  readonly metrics: Metrics;
  readonly audit: Audit;
  readonly identity: Identity;
  readonly home: Home;
  readonly ledger: Ledger;
  readonly door: Door;
  readonly recheck: () => void;
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

const reload = async ({ identity, door, log, audit, metrics, recheck }: Parts): Promise<void> => {
  const read = await identity.source.reload();
  const taken = [
    read.ok,
    door.context?.reload() ?? true,
    reopened(log, "log", log),
    reopened(audit, "audit log", log),
  ];
  const ok = !taken.includes(false);
  metrics.reloaded(ok);
  log.info({ changed: read.ok && read.changed, ok }, "settings read again");
  recheck();
};

const drain = async ({ config, draining, door, ledger, home }: Parts): Promise<void> => {
  const { drainDelayMs, drainMs, firstByteMs } = config.timeouts;
  draining.is = true;
  await new Promise((resolve) => setTimeout(resolve, drainDelayMs));
  draining.isClosing = true;
  home.registry.release();
  const cut = new AbortController();
  const closed = door.listener.close(cut.signal);
  await ledger.drain(drainMs);
  cut.abort();
  await closed;
  await home.registry.flushMetadata(AbortSignal.timeout(firstByteMs));
};
