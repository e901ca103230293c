/** The registry's own answers, by the name of their row in the route table. */
import type { Answer } from "../../ports.ts";
import {
  listMembers,
  listPeers,
  listRegions,
  readAgent,
  readHealth,
  readLeader,
  refuseServers,
} from "./agent.ts";
import { listAllocations, readAllocation, readServices, stopAllocation } from "./allocations.ts";
import { createBlock } from "./blocking.ts";
import { listDeployments, listJobDeployments, readJobDeployment } from "./deployments.ts";
import {
  listEvaluations,
  listJobEvaluations,
  readEvaluation,
  readEvaluationAllocations,
} from "./evaluations.ts";
import { listJobs, readJob, readJobAllocations, readJobSummary, readJobVersions } from "./jobs.ts";
import { listNamespaces } from "./namespaces.ts";
import { type Answering, type AnswerNeeds, type AnswerOptions, toAsked } from "./needs.ts";
import { listNodes, readNode, readNodeAllocations } from "./nodes.ts";
import { search } from "./search.ts";
import { listServices, readService } from "./service-lists.ts";
import { listVolumes } from "./volumes.ts";

/**
 * One answer for each row with carriage "registry" but those of ACL objects and of announcing agents. An answer throws
 * a GatewayError, or gives a document or a refusal with headers; a blocking one ends with the exchange's signal.
 */
export const createAnswers = (
  needs: AnswerNeeds,
  options: AnswerOptions = {},
): Readonly<Record<string, Answer>> => {
  const block = createBlock(needs, options);
  const asking =
    (answering: Answering): Answer =>
    (exchange, principal, scope) =>
      answering(toAsked(needs, exchange, principal, scope));
  return {
    "allocs.list": asking(listAllocations(needs, block)),
    "alloc.read": asking(readAllocation(needs, block)),
    "alloc.stop": stopAllocation(needs),
    "alloc.services": asking(readServices(needs, block)),
    "nodes.list": asking(listNodes(needs, block)),
    "node.allocations": asking(readNodeAllocations(needs, block)),
    "node.read": asking(readNode(needs, block)),
    "evaluations.list": asking(listEvaluations(needs, block)),
    "evaluation.allocations": asking(readEvaluationAllocations(needs, block)),
    "evaluation.read": asking(readEvaluation(needs, block)),
    "jobs.list": asking(listJobs(needs, block)),
    "job.allocations": asking(readJobAllocations(needs, block)),
    "job.evaluations": asking(listJobEvaluations(needs, block)),
    "job.summary": asking(readJobSummary(needs, block)),
    "job.versions": asking(readJobVersions(needs, block)),
    "job.deployments": asking(listJobDeployments(needs, block)),
    "job.deployment": asking(readJobDeployment(needs, block)),
    "job.read": asking(readJob(needs, block)),
    "deployments.list": asking(listDeployments(needs, block)),
    "services.list": asking(listServices(needs, block)),
    "service.read": asking(readService(needs, block)),
    "volumes.list": asking(listVolumes(needs, block)),
    search: asking(search(needs)),
    "agent.self": readAgent(needs),
    "agent.health": readHealth(options),
    "agent.members": asking(listMembers(needs)),
    "status.leader": asking(readLeader(needs)),
    "status.peers": asking(listPeers(needs)),
    "agent.servers": refuseServers(),
    "regions.list": asking(listRegions(needs)),
    "namespaces.list": asking(listNamespaces(needs, block)),
  };
};
