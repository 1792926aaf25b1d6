"""What training minimises: the relevant passage should score best, and scores should follow a teacher's."""

import torch
from torch.nn import functional


def compute_loss(
    scores: torch.Tensor, teacher_scores: torch.Tensor | None, distillation_weight: float = 1.0
) -> torch.Tensor:
    """The loss of a batch of groups at K layers: the sum of the layers' losses.

    Where there are several layers and no teacher, the last layer is that of the others.

    Args:
        scores: (K, groups, G) logits, the relevant passage in column 0.
        teacher_scores: (groups, G) the teacher's logits, in the same order; None to learn from labels alone.
        distillation_weight: how much a teacher's part counts beside the labels'.
    """
    *lower, last = scores
    teacher_of_lower = last.detach() if teacher_scores is None else teacher_scores
    losses = [compute_group_loss(layer, teacher_of_lower, distillation_weight) for layer in lower]
    return torch.stack([*losses, compute_group_loss(last, teacher_scores, distillation_weight)]).sum()


def compute_group_loss(
    scores: torch.Tensor, teacher_scores: torch.Tensor | None, distillation_weight: float
) -> torch.Tensor:
    """The mean loss of a batch of groups at one layer.

    Args:
        scores: (groups, G) logits, the relevant passage in column 0.
        teacher_scores, distillation_weight: see ``compute_loss``.
    """
    scores = scores.float()
    relevant = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    loss = functional.cross_entropy(scores, relevant)
    if teacher_scores is None:
        return loss
    teacher = teacher_scores.to(scores).softmax(dim=-1)
    return loss + distillation_weight * functional.cross_entropy(scores, teacher)
