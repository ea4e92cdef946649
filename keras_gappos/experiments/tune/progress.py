"""Reports a search while it runs: rows on disk, lines in a log, a progress bar."""

import keras

from keras_gappos.experiments.tune.report import write_report
from keras_gappos.tuning.resumable.oracles import ResumableOracle, last_line, last_percent

_ENDED = ("COMPLETED", "FAILED")
_HYPERBAND = "tuner/"  # prefix of Hyperband's own values


def rows_of(oracle: ResumableOracle) -> list[dict]:
    """The finished trials of an oracle as rows."""

    def row(trial):
        values, record = trial.hyperparameters.values, oracle.records[trial.trial_id]
        before = values.get("tuner/trial_id")
        return {
            "trial": int(trial.trial_id),
            "status": trial.status,
            "settings": {k: v for k, v in values.items() if not k.startswith(_HYPERBAND)},
            "epochs": values.get("tuner/epochs"),
            "initial_epoch": values.get("tuner/initial_epoch", 0),
            "continues": None if before is None else int(before),
            "val_accuracy": _percent(trial, "val_accuracy"),
            "val_shift_consistency": _percent(trial, "val_shift_consistency"),
            **_predicted_classes(trial),
            "score": trial.score,
            **{key: record[key] for key in ("seconds", "starts", "worker", "started")},
            "message": last_line(trial.message),
        }

    ended = [trial for trial in oracle.trials.values() if trial.status in _ENDED]
    return sorted(map(row, ended), key=lambda row: row["trial"])


def _predicted_classes(trial):
    if trial.status != "COMPLETED" or not trial.metrics.exists("val_num_predicted_classes"):
        return {}
    count = trial.metrics.get_last_value("val_num_predicted_classes")
    return {"num_predicted_classes": int(count)}


def _percent(trial, metric):
    if trial.status != "COMPLETED":
        return None
    return round(last_percent(trial, metric), 4)


class SearchWatch(keras.callbacks.Callback):
    """Writes ended trials to disk and shows progress; a callback and the oracle's listener."""

    def __init__(self, folder, display, trials):
        super().__init__()
        self._folder, self._display, self._trials = folder, display, trials
        self._shown = 0  # epochs

    def __deepcopy__(self, memo):
        return self

    def resume(self, oracle):
        """Counts the epochs of an earlier run."""
        self._shown = self._epochs_of(self._rows(oracle))
        self._display.skip(self._shown)
        self.listen(oracle)

    def listen(self, oracle):
        """Reports the start or end of a trial."""
        rows, known = self._rows(oracle), {row["trial"] for row in self._folder.rows}
        ended = [row for row in rows if row["trial"] not in known]
        if ended:
            self._folder.put(rows)
            write_report(self._folder.path, self._folder.content)
            self._display.advance(self._epochs_of(rows) - self._shown)
            self._shown = self._epochs_of(rows)
            for row in ended:
                self._display.log(_line(row))
        running = sorted(int(trial.trial_id) for trial in oracle.ongoing_trials.values())
        self._name = "trial " + ", ".join(map(str, running))
        self._status = f"{len(rows)} of {self._trials} trials done, {self._name}"
        self._display.show(rows, self._status)

    def on_train_begin(self, logs=None):
        """Says why nothing moves: the first step is traced, which can take a minute."""
        self._display.describe(f"{self._status}: compiling")

    def on_train_batch_end(self, batch, logs=None):
        """Says that a trial of this process trains."""
        if batch == 0:
            self._display.describe(self._status)

    def on_epoch_end(self, epoch, logs=None):
        """Counts an epoch of a trial of this process."""
        self._shown += 1
        self._display.advance(1)
        metrics = ", ".join(_metric(name, value) for name, value in (logs or {}).items())
        self._display.log(f"{self._name}, epoch {epoch + 1}: {metrics}")

    def _rows(self, oracle):
        epochs = self._folder.content["settings"]["epochs"]
        return [{**row, "epochs": row["epochs"] or epochs} for row in rows_of(oracle)]

    def _epochs_of(self, rows):
        return sum(row["epochs"] - row["initial_epoch"] for row in rows)


def _metric(name, value):
    """A metric of an epoch's logs: accuracies and consistencies in percent."""
    if name.endswith(("accuracy", "shift_agreement")):  # in [0, 1]
        return f"{name} {100 * value:.2f} %"
    return f"{name} {value:.2f} %" if name.endswith("shift_consistency") else f"{name} {value:.4g}"


def _line(row):
    name = f"trial {row['trial']}"
    if row["status"] == "FAILED":
        return f"{name} failed: {row['message']}"
    return (
        f"{name}: {row['val_accuracy']:.2f} % accurate, {row['val_shift_consistency']:.2f} % "
        f"consistent in {row['seconds']:.0f} s"
    )
