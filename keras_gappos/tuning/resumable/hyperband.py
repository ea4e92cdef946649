"""Hyperband: trains many settings briefly and the best ones longer."""

import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from keras_gappos.tuning.resumable.oracles import ENDED, ResumableOracle


class HyperbandOracle(ResumableOracle, keras_tuner.oracles.HyperbandOracle):
    """Random settings, of which the best are trained longer.

    A failed trial counts as the worst of its round, and a bracket may start with fewer trials if
    the space is exhausted. KerasTuner's Hyperband would not finish the bracket in either case.
    """

    def populate_space(self, trial_id):
        """KerasTuner's, for brackets of any size."""
        while True:
            for bracket in self._brackets:
                values = self._draw(bracket, trial_id) or self._promote(bracket, trial_id)
                if values is not None:
                    return {"status": TrialStatus.RUNNING, "values": values}
            if self._current_bracket == 0 and self._current_iteration + 1 >= (
                self.hyperband_iterations
            ):
                status = TrialStatus.IDLE if self.ongoing_trials else TrialStatus.STOPPED
                return {"status": status}
            self._remove_completed_brackets()
            self._increment_bracket_num()
            self._start_new_bracket()

    def _draw(self, bracket, trial_id):
        """The values of a new trial in the first round, or `None`."""
        number, found = bracket["bracket_num"], bracket["rounds"][0]
        if bracket.get("drawn") or len(found) >= self._get_size(number, 0):
            return None
        values = self._random_values()
        if values is None:
            bracket["drawn"] = True
            return None
        found.append({"past_id": None, "id": trial_id})
        return {**values, **self._marks(number, 0)}

    def _promote(self, bracket, trial_id):
        """The values of a trial certain to be among the best of its round, or `None`."""
        number, rounds = bracket["bracket_num"], bracket["rounds"]
        for following in range(1, len(rounds)):
            ready, to_come = self._ready(rounds, following), self._to_come(bracket, following - 1)
            size = self._get_size(number, following)
            if ready and len(rounds[following]) + to_come < size:
                best = max(ready, key=lambda trial: trial.score)
                rounds[following].append({"past_id": best.trial_id, "id": trial_id})
                return {
                    **best.hyperparameters.values,
                    **self._marks(number, following),
                    "tuner/trial_id": best.trial_id,
                }
        return None

    def _ready(self, rounds, following):
        """The completed trials of the previous round that were not promoted yet."""
        taken = {info["past_id"] for info in rounds[following]}
        before = [self.trials[i["id"]] for i in rounds[following - 1] if i["id"] not in taken]
        return [trial for trial in before if trial.status == TrialStatus.COMPLETED]

    def _to_come(self, bracket, number):
        """The number of trials of a round that run or can still start."""
        found = bracket["rounds"][number]
        running = sum(self.trials[info["id"]].status not in ENDED for info in found)
        left = self._get_size(bracket["bracket_num"], number) - len(found)
        if number:
            before = len(self._ready(bracket["rounds"], number))
            left = min(left, before + self._to_come(bracket, number - 1))
        elif bracket.get("drawn"):
            left = 0
        return running + left

    def _marks(self, number, of_round):
        return {
            "tuner/epochs": self._get_epochs(number, of_round),
            "tuner/initial_epoch": self._get_epochs(number, of_round - 1) if of_round else 0,
            "tuner/bracket": number,
            "tuner/round": of_round,
        }

    def _remove_completed_brackets(self):
        # KerasTuner does so when the last trial starts, which still needs the previous one.
        self._brackets = [b for b in self._brackets if self._to_come(b, len(b["rounds"]) - 1)]


def hyperband_epochs(epochs: int, factor: int) -> list[int]:
    """The epochs that each trial of a search trains after its initial epoch, in order.

    Args:
        epochs: passes over the data of the longest trials.
        factor: as in `keras_gappos.tuning.make_tuner`.
    """
    oracle = keras_tuner.oracles.HyperbandOracle(
        keras_tuner.Objective("score", "max"), max_epochs=epochs, factor=factor
    )
    counts = []
    for bracket in reversed(range(oracle._get_num_brackets())):
        before = 0
        for found in range(oracle._get_num_rounds(bracket)):
            until = oracle._get_epochs(bracket, found)
            counts += [until - before] * oracle._get_size(bracket, found)
            before = until
    return counts
