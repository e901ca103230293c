/** `/v1/volumes`: no node lends volumes here, so whoever may list them is told that there are none. */
import { GatewayError } from "../../errors.ts";
import type { Answered } from "../../ports.ts";
import { present } from "./allocations.ts";
import type { Block } from "./blocking.ts";
import { emptyIndex } from "./deployments.ts";
import type { Answering, AnswerNeeds, Asked } from "./needs.ts";
import { volumeKind } from "./parameter-check.ts";

const csiRights = ["csi-list-volume", "csi-read-volume", "csi-mount-volume", "list-jobs"] as const;

/** Host volumes are left out one by one from what a caller sees; CSI volumes are refused as a whole. */
const requireRight = ({ acl, namespace }: Asked): void => {
  if (!csiRights.some((right) => acl().namespace(namespace, right)))
    throw new GatewayError("permission_denied");
};

export const listVolumes =
  (_needs: AnswerNeeds, block: Block): Answering =>
  (asked): Answered | Promise<Answered> => {
    const { common, exchange } = asked;
    const kind = volumeKind(exchange.raw);
    if (kind === undefined) return { document: [] };
    return block("nodes", common, exchange.signal, () => {
      if (kind === "csi") requireRight(asked);
      return present([], emptyIndex);
    });
  };
