"""What training minimises: the relevant passage should score best, and scores should follow a teacher's."""

import torch
from torch.nn import functional


def compute_group_loss(
    scores: torch.Tensor, teacher_scores: torch.Tensor | None, distillation_weight: float
) -> torch.Tensor:
    """The mean loss of a batch of groups.

    Args:
        scores: (groups, G) logits, the relevant passage in column 0.
        teacher_scores: (groups, G) the teacher's logits, in the same order; None to learn from labels alone.
        distillation_weight: how much the teacher's part counts beside the labels'.
    """
    scores = scores.float()
    relevant = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    loss = functional.cross_entropy(scores, relevant)
    if teacher_scores is None:
        return loss
    teacher = teacher_scores.to(scores).softmax(dim=-1)
    return loss + distillation_weight * functional.cross_entropy(scores, teacher)
