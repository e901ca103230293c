/**
 * THE COMPOSITION ROOT of the gateway: every part is made here, given what it needs, and closed in the reverse order.
 * A request's own way through the parts is src/journey.ts.
 */
import { randomBytes } from "node:crypto";
import { createAuthorize } from "./acl/authorize.ts";
import { createJoinTokens } from "./acl/join-tokens.ts";
import { writeEmpty, writeError, writeJson } from "./answer.ts";
import { createCarry } from "./carry/carry.ts";
import { isLoopback } from "./config/loopback.ts";
import type { ServerConfig } from "./config/server-schema.ts";
import { GatewayError } from "./errors.ts";
import { openIdentity, readText } from "./gateway/identity.ts";
import { observeDirectory, observeRegistry, readGauges } from "./gateway/observing.ts";
import { createReadiness } from "./gateway/readiness.ts";
import { createRecorder } from "./gateway/recorder.ts";
import { createResolve } from "./gateway/resolve.ts";
import { createAdmin } from "./ingress/admin.ts";
import { trustedProxies } from "./ingress/client.ts";
import { createEdge, type EdgeNeeds } from "./ingress/edge.ts";
import { requestIds } from "./ingress/exchange.ts";
import { openListener } from "./ingress/listener.ts";
import { createTlsContext } from "./ingress/tls.ts";
import { createUpgrade } from "./ingress/upgrade.ts";
import { journey, type Steps } from "./journey.ts";
import { createLedger, type Ledger } from "./live/ledger.ts";
import { createAudit } from "./observe/audit.ts";
import type { OpenLog } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import type { Answer, Answered, Clock, Closer, Exchange, Registry } from "./ports.ts";
import type { AddressPolicy } from "./reach/address.ts";
import { checkAddress } from "./reach/address.ts";
import { createNodeDispatcher } from "./reach/node-dispatcher.ts";
import { createReach } from "./reach/reach.ts";
import { createAnswers } from "./registry/answers/answers.ts";
import { registryParameterCheck } from "./registry/answers/parameter-check.ts";
import { PackedDirectory } from "./registry/directory.ts";
import { createAnnounceAnswer } from "./registry/embedded/announce.ts";
import { createEmbeddedRegistry } from "./registry/embedded/registry.ts";

export interface Gateway extends Closer {
  /** `http(s)://host:port` of the public listener, as bound. */
  readonly url: string;
  readonly adminUrl: string;
  readonly registry: Registry;
  /** SIGHUP: policies, tokens, certificates and log files are read or opened again; what is not sound stays as it was. */
  reload(): Promise<void>;
  /** SIGTERM: not ready at once, unary requests finish, live exchanges are cut when their grace is over. */
  drain(): Promise<void>;
}

export interface GatewayNeeds {
  readonly clock: Clock;
  readonly log: OpenLog;
  readonly version: string;
}

const noJoinTokens = { claim: () => false } as const;

const writeAnswer = (exchange: Exchange, answered: Answered): void => {
  const { wire, pretty } = exchange;
  if (wire.kind !== "http")
    throw new GatewayError("internal", { reason: "a registry answer goes over HTTP" });
  const { headers = {} } = answered;
  if (answered.refusal) writeError(wire.response, answered.refusal, headers);
  else if (answered.document === undefined) writeEmpty(wire.response, headers);
  else writeJson(wire.response, answered.document, { pretty, headers });
};

const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Listens when it resolves. Rejects with what is wrong with the settings' files or addresses. */
export const createGateway = async (
  { clock, log, version }: GatewayNeeds,
  config: ServerConfig,
): Promise<Gateway> => {
  const { limits, timeouts } = config;
  const closers: Closer[] = [];
  const closeAll = async (signal: AbortSignal): Promise<void> => {
    for (const part of closers.splice(0).reverse()) await part.close(signal);
  };
  const own = <T extends Closer>(part: T): T => {
    closers.push(part);
    return part;
  };

  try {
    let isDraining = false;
    const metrics = createMetrics({ version, region: config.region });
    own({ close: async () => metrics.close() });
    const audit = own(
      createAudit({ clock, output: config.audit.output, recorded: metrics.auditRecorded }),
    );
    const identity = own(await openIdentity({ clock, log }, config.acl));

    // the way to agents
    const addresses: AddressPolicy = {
      allow: config.reach.allow,
      deny: config.reach.deny,
      loopback: isLoopback(config.http.listen.host),
    };
    const ca = readText(config.reach.caFile);
    const cert = readText(config.reach.certFile);
    const key = readText(config.reach.keyFile);
    const tls = { ca, cert, key, servername: `client.${config.region}.nomad` };
    const toNodes = { addresses, connectTimeoutMs: timeouts.connectMs, tls };
    const reaches = own(createReach({ clock, log }, toNodes));
    const dispatcher = createNodeDispatcher(toNodes);
    own({ close: () => dispatcher.destroy() });

    // where everything lives
    const { joinTokensFile } = config.acl;
    const registry = own(
      await createEmbeddedRegistry(
        {
          clock,
          log,
          dispatcher,
          joinTokens:
            joinTokensFile === undefined
              ? noJoinTokens
              : createJoinTokens({ clock }, { file: joinTokensFile }),
          addressFault: (address) => checkAddress(address, addresses),
          observe: observeRegistry(metrics, log),
        },
        {
          dataDirectory: config.dataDir,
          downAfterMs: config.node.downAfterMs,
          maxNodes: limits.maxNodes,
          maxAllocations: limits.maxAllocations,
          maxWaiters: limits.blockingQueries,
          metadataIntervalMs: config.metadata.intervalMs,
        },
      ),
    );
    const directory = new PackedDirectory(
      { clock, feed: registry.feed, observe: observeDirectory(metrics) },
      { maxAllocations: limits.maxAllocations, maxNodes: limits.maxNodes },
    );
    const unfollow = registry.feed.follow(directory);
    own({
      close: async () => {
        unfollow();
        directory.close();
      },
    });

    // who is in
    let ledger: Ledger;
    const recorder = createRecorder({ metrics, audit, log, ledger: () => ledger });
    const decide = createAuthorize();
    const authorize: Steps["authorize"] = (principal, scope, exchange) => {
      recorder.authenticated(exchange, principal);
      try {
        decide(principal, scope, exchange);
        metrics.decided(exchange.route, "allowed");
      } catch (error) {
        metrics.decided(exchange.route, "denied");
        throw error;
      }
    };
    ledger = own(
      createLedger(
        { clock, log, authenticate: identity.authenticateCredential, authorize: decide },
        {
          maxLivePerPrincipal: limits.livePerPrincipal,
          onEnd: (exchange, _principal, reason) => recorder.liveEnded(exchange, reason),
        },
      ),
    );
    const recheck = (): void => {
      ledger.recheck().catch((err: unknown) => log.error({ err }, "recheck of rights failed"));
    };
    const unheed = identity.source.onChange(recheck);
    own({ close: async () => unheed() });

    // the journey
    const carry = createCarry(
      { clock },
      { stallMs: timeouts.idleMs, maxMessageBytes: limits.execMessageBytes },
    );
    const self = {
      name: config.name,
      region: config.region,
      datacenter: config.datacenter,
      version,
      address: "",
    };
    const answers: Readonly<Record<string, Answer>> = {
      ...createAnswers(
        { registry, clock, self },
        { unwell: () => (isDraining ? "shutting down" : undefined) },
      ),
      ...identity.answers,
      "serai.announce": createAnnounceAnswer(registry.announce),
    };
    const travel = journey({
      authenticate: async (exchange) => {
        const principal = await identity.authenticate(exchange);
        recorder.authenticated(exchange, principal);
        return principal;
      },
      resolve: createResolve(directory),
      authorize,
      admit: (exchange, principal, scope) => {
        ledger.admit(exchange, principal, scope);
        recorder.admitted(exchange, principal, scope);
      },
      reach: (scope, exchange) => reaches.to(scope, exchange),
      carry: async (exchange, reach, tally) => {
        await carry(exchange, reach, tally);
        const { wire, route } = exchange;
        if (
          route.name === "client.metadata.post" &&
          wire.kind === "http" &&
          wire.response.statusCode === 200
        )
          registry.touchMetadata(reach.node.id);
      },
      answer: async (exchange, principal, scope) => {
        const answer = answers[exchange.route.name];
        if (answer === undefined)
          throw new GatewayError("internal", { reason: `no answer for ${exchange.route.name}` });
        writeAnswer(exchange, await answer(exchange, principal, scope));
      },
    });

    // the doors
    const edgeNeeds: EdgeNeeds = {
      region: config.region,
      checkRegistryParameters: (name, raw) => registryParameterCheck(name, raw, config.region),
      travel,
      started: recorder.started,
      ended: recorder.ended,
      nextId: requestIds(randomBytes(4).toString("hex")),
      log,
      isDraining: () => isDraining,
    };
    const edgeOptions = {
      isTrustedProxy: trustedProxies(config.http.trustProxy),
      allowedOrigins: config.http.allowedOrigins,
    };
    const { certFile, keyFile, clientCaFile } = config.tls;
    const context =
      certFile === undefined || keyFile === undefined
        ? undefined
        : createTlsContext({ log }, { certFile, keyFile, clientCaFile });
    if (context === undefined && !isLoopback(config.http.listen.host))
      log.warn(
        { listen: config.http.listen.host },
        "cleartext on an address that others can reach: set tls.cert_file and tls.key_file",
      );
    const listener = own(
      await openListener(
        {
          log,
          onRequest: createEdge(edgeNeeds, edgeOptions),
          onUpgrade: createUpgrade(edgeNeeds, {
            ...edgeOptions,
            maxMessageBytes: limits.execMessageBytes,
            handshakeTimeoutMs: limits.handshakeMs,
            maxHandshakeBytes: limits.handshakeMessageBytes,
            maxUnauthenticatedPerAddress: limits.handshakesPerAddress,
          }),
        },
        {
          ...config.http.listen,
          maxHeaderBytes: limits.maxHeaderBytes,
          headersTimeoutMs: timeouts.headersMs,
          requestTimeoutMs: timeouts.requestMs,
          keepAliveTimeoutMs: timeouts.keepAliveMs,
          maxSocketsPerAddress: limits.socketsPerAddress,
          maxSockets: limits.maxSockets,
          tls: context?.options,
        },
      ),
    );
    self.address = listener.address;
    readGauges(metrics, { registry, directory, reaches, ledger, listener, audit, log, context });
    const admin = own(
      await createAdmin(
        {
          log,
          exposition: metrics.exposition,
          contentType: metrics.contentType,
          checks: createReadiness({
            config,
            registry,
            audit,
            metrics,
            isDraining: () => isDraining,
          }),
          live: () => ledger.list(),
        },
        {
          listen: config.admin.listen,
          token: config.admin.token,
          loopback: isLoopback(config.admin.listen.host),
        },
      ),
    );

    return {
      url: `${context ? "https" : "http"}://${listener.address}`,
      adminUrl: `http://${config.admin.listen.host}:${admin.address.port}`,
      registry,
      reload: async () => {
        const reloaded = await identity.source.reload();
        const certified = context?.reload() ?? true;
        log.reopen();
        audit.reopen();
        metrics.reloaded(reloaded.ok && certified);
        log.info(
          { changed: reloaded.ok && reloaded.changed, ok: reloaded.ok && certified },
          "settings read again",
        );
        recheck();
      },
      drain: async () => {
        isDraining = true;
        await delay(timeouts.drainDelayMs);
        const stop = new AbortController();
        const closed = listener.close(stop.signal);
        await ledger.drain(timeouts.drainMs);
        stop.abort();
        await closed;
        await registry.flushMetadata(AbortSignal.timeout(timeouts.firstByteMs));
      },
      close: closeAll,
    };
  } catch (error) {
    await closeAll(AbortSignal.abort());
    throw error;
  }
};
