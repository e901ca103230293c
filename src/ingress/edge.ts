/**
 * The HTTP edge, made from the route table: plain paths are looked up (row-match.ts), all others matched by an express
 * application. Plain requests begin in plain/begin.ts, all others here; what happens to both is in visit.ts.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { toGatewayError } from "../errors.ts";
import { queryOf } from "../http/query.ts";
import { lazily } from "../lib/lazily.ts";
import type { Log } from "../ports.ts";
import { isCarried } from "./carried.ts";
import { clientOf } from "./client.ts";
import { applyCors } from "./cors.ts";
import { checkRequest } from "./guards.ts";
import type { Others } from "./others.ts";
import { createPassOn, type Passing } from "./passing.ts";
import { createBegin } from "./plain/begin.ts";
import type { CallerNeeds } from "./plain/caller.ts";
import { redirect } from "./redirect.ts";
import { matchRows } from "./row-match.ts";
import { readTarget } from "./target.ts";
import { createVisits, type Visit, type VisitNeeds } from "./visit.ts";

export interface EdgeNeeds extends VisitNeeds {
  readonly log: Log;
  /** In front of a Nomad cluster: takes what the gateway does not carry itself. */
  readonly passing?: Passing | undefined;
  /** Throws for a request of somebody who is no caller. */
  readonly checkCaller?: (request: IncomingMessage, response: ServerResponse) => void;
  /** Told of each socket beyond the bound of those without a token. */
  readonly limited?: (limit: "handshakes_per_address") => void;
}

export interface EdgeOptions {
  readonly isTrustedProxy: (address: string) => boolean;
  readonly allowedOrigins: readonly string[];
}

export interface Edge {
  /** For node:http's server. */
  readonly onRequest: RequestListener;
  /** For plain requests. */
  readonly begin: CallerNeeds["begin"];
}

export const createEdge = (needs: EdgeNeeds, options: EdgeOptions): Edge => {
  const { passing, region } = needs;
  const visits = createVisits(needs, options);

  const passOn = passing && createPassOn({ ...needs, passing }, options);

  /** Hardly any request needs express, which takes as long to load as a fifth of all that the gateway loads. */
  const load = lazily(async (): Promise<Others> => {
    const { createOthers } = await import("./others.ts");
    return createOthers(visits);
  });
  const others: Others = (visit, path, request, response) => {
    load()
      .then((go) => go(visit, path, request, response))
      .catch((thrown: unknown) => visits.refuse(visit, request, response, toGatewayError(thrown)));
  };

  /** Checks a request and sends it to where its path belongs. Throws what is wrong with it. */
  const arrive = (visit: Visit, request: IncomingMessage, response: ServerResponse): void => {
    const { url } = visit;
    visits.greet(visit, response);
    needs.checkCaller?.(request, response);
    if (passOn && !isCarried(url, region)) {
      void passOn(visit, request, response).then((error) => visits.depart(visit, response, error));
      return;
    }
    visit.raw = queryOf(url);
    const target = readTarget(url);
    checkRequest(request);
    if (target.kind === "redirect") {
      redirect(request, response, target.location);
      visits.answered(visit, response);
      return;
    }
    if (applyCors(request, response, target.path)) {
      visits.answered(visit, response);
      return;
    }
    const match = matchRows(target.path);
    if (match === undefined) others(visit, target.path, request, response);
    else visits.take(visit, match, request, response);
  };

  return {
    onRequest(request, response) {
      const visit = visits.begin(request, clientOf(request, options.isTrustedProxy));
      try {
        arrive(visit, request, response);
      } catch (thrown) {
        visits.refuse(visit, request, response, toGatewayError(thrown));
      }
    },
    begin: createBegin(visits, { ...options, region, passes: passing !== undefined }),
  };
};
