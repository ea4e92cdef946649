import pytest

from keras_gappos.files import check_same_run

RUN = {"epochs": 3, "image_shape": (8, 8, 1)}
RECORDED = {"epochs": 3, "image_shape": [8, 8, 1]}  # as JSON returns it


def test_the_folder_of_another_run_is_rejected_with_the_difference():
    check_same_run(RECORDED, RUN, "`directory` holds another search")
    with pytest.raises(
        ValueError, match=r"holds another search: epochs is 3 there, 5 here\. Choose another folder"
    ):
        check_same_run(RECORDED, {**RUN, "epochs": 5}, "`directory` holds another search")
    with pytest.raises(ValueError, match="seed is not set there, 1 here"):
        check_same_run(RECORDED, {**RUN, "seed": 1}, "")
    with pytest.raises(ValueError, match="epochs is not set there, 3 here"):
        check_same_run("damaged", RUN, "")
