/**
 * THE COMPOSITION ROOT of the gateway: every part is made here, given what it needs, and closed in the reverse order.
 * A request's own way through the parts is src/journey.ts.
 */
import { randomBytes } from "node:crypto";
import { authorize } from "./acl/authorize.ts";
import { createShares } from "./carry/shared/shares.ts";
import type { ServerConfig } from "./config/server-schema.ts";
import { openAgents } from "./gateway/agents.ts";
import { openCallers } from "./gateway/callers.ts";
import { openClientTls } from "./gateway/client-tls.ts";
import type { Opened } from "./gateway/cluster.ts";
import { openDoor } from "./gateway/doors.ts";
import { type Identity, openIdentity } from "./gateway/identity.ts";
import { readGauges } from "./gateway/observing.ts";
import { createReadiness } from "./gateway/readiness.ts";
import { createRecorder } from "./gateway/recorder.ts";
import { type HomeNeeds, openEmbedded, type ServerTokens } from "./gateway/registry.ts";
import { drain, type Running, reload } from "./gateway/running.ts";
import { type Answers, createSteps } from "./gateway/steps.ts";
import { openTunnels, type TunnelParts } from "./gateway/tunnels.ts";
import { createAdmin } from "./ingress/admin.ts";
import { requestIds } from "./ingress/exchange.ts";
import { journey } from "./journey.ts";
import { authorityOf, isLoopback } from "./lib/addresses.ts";
import { Closers } from "./lib/closers.ts";
import { lazily } from "./lib/lazily.ts";
import { createLedger, type Ledger } from "./live/ledger.ts";
import { createAudit } from "./observe/audit.ts";
import type { OpenLog } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import type { Clock, Closer } from "./ports.ts";
import { explained } from "./reach/explained.ts";
import { createReachAnswer } from "./reach/reach-answer.ts";
import { createAnnounceAnswer } from "./registry/embedded/announce.ts";
import type { EmbeddedRegistry } from "./registry/embedded/registry.ts";

export interface Gateway extends Closer {
  /** `http(s)://host:port` of the public listener, as bound. */
  readonly url: string;
  readonly adminUrl: string;
  /** The embedded registry. Throws in front of a Nomad cluster, whose servers have the documents. */
  readonly registry: EmbeddedRegistry;
  /**
   * SIGHUP: policies, tokens, certificates and log files are read or opened again; what is not sound stays as it was.
   * `tokens` reads those that the servers of a cluster are shown, and throws when it cannot.
   */
  reload(tokens?: () => Readonly<ServerTokens>): Promise<void>;
  /** SIGTERM: not ready at once, unary requests finish, live exchanges are cut when their grace is over. */
  drain(): Promise<void>;
  /** An error that nobody caught, for the metrics. */
  uncaught(kind: "exception" | "rejection"): void;
  /** Writes audit records that wait and the ends of what is live, before the process ends at once. */
  flush(): void;
  /** Lines that the log left out in a flood, for the metrics. */
  suppressed(lines: number): void;
}

export interface GatewayNeeds {
  readonly clock: Clock;
  readonly log: OpenLog;
  readonly version: string;
}

const requestIdPrefixBytes = 4;

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
  const audit = createAudit({ clock, output, recorded: metrics.auditRecorded });
  closers.defer(() => {
    const { queuedBytes: bytes, failing } = audit.state;
    if (bytes > 0) log.error({ bytes, failing }, "the last audit records could not be written");
  });
  closers.own(audit);
  const tunnels = openTunnels({ clock, log, metrics, audit }, config);
  const { hub, joinTokens } = tunnels;
  const clientTls = openClientTls(log, config);
  const agents = openAgents(
    { clock, log, metrics, closers, tunnels: hub, tls: clientTls.agents },
    config,
  );
  const nextId = requestIds(randomBytes(requestIdPrefixBytes).toString("hex"));
  const { servers: tls } = clientTls;
  const { token: own, serviceToken } = config.nomad;
  const serverTokens: ServerTokens = { token: own, serviceToken };
  const parts = {
    clock,
    log,
    metrics,
    audit,
    agents,
    joinTokens,
    closers,
    tls,
    serverTokens,
    nextId,
  };
  const { home, identity, passing } =
    config.registry === "nomad" ? await openNomad(parts, config) : await openOwn(parts, config);

  const recorder = createRecorder({ metrics, audit, log, ledger: () => ledger });
  const ledger: Ledger = closers.own(
    createLedger(
      { clock, log, authenticate: identity.authenticateCredential, authorize },
      {
        maxLivePerPrincipal: config.limits.livePerPrincipal,
        onEnd: (exchange, reason) => recorder.liveEnded(exchange, reason),
        onRecheck: metrics.reauthorized,
      },
    ),
  );
  const recheck = (): void => {
    ledger.recheck().catch((err: unknown) => log.error({ err }, "recheck of rights failed"));
  };
  closers.defer(identity.onChange(recheck));

  const ways = explained(home.ways);
  const answers = lazily(async (): Promise<Answers> => {
    const { address } = door.listener; // asked for by requests, which come after it was opened
    const answering = { clock, version, config, address, draining, tunnels, ledger };
    return {
      ...(home.embedded && (await ownAnswers(home.embedded, identity, answering))),
      "serai.reach": createReachAnswer(ways),
    };
  });
  const shares = createShares();
  const steps = createSteps(
    { clock, metrics, identity, home, ways, ledger, recorder, answers, shares },
    config,
  );
  const callers = openCallers({ log, certifiedNode: tunnels.certifiedNode }, config);
  const door = await openDoor(
    {
      log,
      travel: journey(steps),
      started: recorder.started,
      ended: recorder.ended,
      isDraining: () => draining.is,
      limited: metrics.limited,
      passing: passing && {
        ...passing,
        admit: (exchange) => {
          ledger.host(exchange);
          recorder.hosted(exchange);
        },
      },
      tunnels: tunnels.door,
      callers,
      nextId,
    },
    config,
  );
  closers.own(door.listener);
  closers.own(hub);
  readGauges(metrics, {
    ...home,
    ...door,
    reaches: agents.reaches,
    ledger,
    hub,
    audit,
    log,
    shares,
  });
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
  const running: Running = {
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
    tunnels,
    callers,
    clientTls,
    serverTokens,
  };
  return {
    url: door.url,
    adminUrl: `http://${authorityOf(listen.host, admin.address.port)}`,
    get registry() {
      if (home.embedded === undefined)
        throw new Error("the documents are with the cluster's servers");
      return home.embedded;
    },
    reload: (tokens) => reload(running, tokens),
    drain: () => drain(running),
    suppressed: metrics.linesSuppressed,
    uncaught: metrics.uncaught,
    flush: audit.flush,
    close: (signal) => closers.close(signal),
  };
};

/** In front of a Nomad cluster; what speaks to its servers is loaded only there. */
const openNomad = async (parts: HomeNeeds, config: ServerConfig): Promise<Opened> => {
  const { openCluster } = await import("./gateway/cluster.ts");
  return openCluster(parts, config);
};

/** The embedded registry with its own tokens and policies. */
const openOwn = async (parts: HomeNeeds, config: ServerConfig): Promise<Opened> => ({
  identity: parts.closers.own(await openIdentity(parts, config.acl)),
  home: await openEmbedded(parts, config),
  passing: undefined,
});

interface Answering {
  readonly clock: Clock;
  readonly version: string;
  readonly config: ServerConfig;
  /** Of the public listener. */
  readonly address: string;
  readonly draining: Running["draining"];
  readonly tunnels: Pick<TunnelParts, "certifiedNode">;
  readonly ledger: Pick<Ledger, "principalOf">;
}

/** Lists, their filters and pages are a tenth of all that there is: loaded with the first request that the registry answers. */
const ownAnswers = async (
  registry: EmbeddedRegistry,
  identity: Identity,
  { clock, version, config, address, draining, tunnels, ledger }: Answering,
): Promise<Answers> => {
  const { createAnswers } = await import("./registry/answers/answers.ts");
  const { name, region, datacenter } = config;
  return {
    ...createAnswers(
      {
        registry,
        clock,
        principalOf: ledger.principalOf,
        self: { name, region, datacenter, version, address },
      },
      {
        unwell: () => (draining.is ? "shutting down" : undefined),
        isEnding: () => draining.isClosing,
      },
    ),
    ...identity.answers,
    "serai.announce": createAnnounceAnswer(registry.announce, tunnels.certifiedNode),
  };
};
