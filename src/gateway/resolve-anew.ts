/** What an exchange is about, asked of the registry once more when the agent was not where it should be. Bounded in time. */
import type { ErrorCode } from "../errors.ts";
import type { Placement, Scope } from "../ports.ts";
import type { PackedDirectory } from "../registry/directory.ts";
import type { NomadNodes } from "../registry/nomad/node-book.ts";

export interface ResolveAnewNeeds {
  readonly directory: Pick<PackedDirectory, "findAnew">;
  readonly nodes: Pick<NomadNodes, "find" | "unreachable">;
}

/** A caller waits for no longer than this on top of what it has waited. What is learnt is of use though it has left. */
const patienceMs = 500;

type ScopeWithNode = Extract<Scope, { readonly kind: "allocation" | "node" }>;

/** A dead agent says nothing of its allocation's place; an agent that does not know it does. */
const placementOf = (
  { directory }: ResolveAnewNeeds,
  placement: Placement,
  code: ErrorCode,
  signal: AbortSignal,
): Promise<Placement | undefined> | Placement =>
  code === "unknown_allocation" ? directory.findAnew(placement.id, signal) : placement;

const askAnew = async (
  needs: ResolveAnewNeeds,
  scope: ScopeWithNode,
  code: ErrorCode,
  signal: AbortSignal,
): Promise<Scope | undefined> => {
  const nodeAnew = (id: string) => {
    needs.nodes.unreachable(id);
    return needs.nodes.find(id, signal);
  };
  if (scope.kind === "node") return { ...scope, node: await nodeAnew(scope.nodeId) };
  const placement = await placementOf(needs, scope.placement, code, signal);
  if (placement === undefined) return undefined;
  return { kind: "allocation", placement, node: await nodeAnew(placement.nodeId) };
};

/** Undefined when the registry does not say, or not in time. */
export const createResolveAnew =
  (needs: ResolveAnewNeeds) =>
  async (scope: Scope, code: ErrorCode): Promise<Scope | undefined> => {
    if (scope.kind !== "allocation" && scope.kind !== "node") return undefined;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error("the registry took too long")), patienceMs);
    try {
      return await askAnew(needs, scope, code, late.signal);
    } catch {
      return undefined; // the failure that led here is the one to tell
    } finally {
      clearTimeout(timer);
    }
  };
