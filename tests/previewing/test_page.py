"""The page in a real browser: headless Chromium, driven as a person would.

Skipped where there is no Chromium with its driver (Debian: chromium, chromium-driver) or no
selenium. Accessibility is checked by axe-core where the package axe-playwright-python brings it.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.preview import main
from tests.previewing.configs import HOSTILE, build_evaluation, build_train

selenium = pytest.importorskip("selenium")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver on the PATH"
)

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,900",
)


# A point of the window where the element is what a click would meet.
FIND_POINT = """
const box = arguments[0].getBoundingClientRect();
for (let y = Math.ceil(box.top); y < box.bottom; y++)
  for (let x = Math.ceil(box.left); x < box.right; x++)
    if (document.elementFromPoint(x, y) === arguments[0]) return [x, y];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("train")
    images = ["sa_1.jpg", "sa_2.jpg", "sa_5.jpg", "sa_7.jpg"]
    dist = str(build_train(folder))
    assert main([dist, "sa_000000", "--out", str(folder), "--quiet", "--images", *images]) == 0
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("eval")
    assert main([str(build_evaluation(folder)), "camo", "--out", str(folder), "--quiet"]) == 0
    return (folder / "index.html").as_uri()


@pytest.fixture
def page(browser: webdriver.Chrome, train: str) -> webdriver.Chrome:
    """The train page, freshly opened."""
    return opened(browser, train)


def opened(browser: webdriver.Chrome, address: str) -> webdriver.Chrome:
    browser.get("about:blank")
    log(browser, "browser")
    log(browser, "performance")
    browser.get(address)
    return browser


def log(page: Any, kind: str) -> list[str]:
    """What was logged since the last call."""
    return [entry["message"] for entry in page.get_log(kind)]


def one(page: webdriver.Chrome, selector: str) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, selector)


def shown(page: webdriver.Chrome) -> list[str]:
    rows = page.find_elements(By.CSS_SELECTOR, "article.row")
    return [str(row.get_attribute("id")) for row in rows if row.is_displayed()]


def status(page: webdriver.Chrome) -> str:
    return str(one(page, "#status").get_attribute("textContent"))


def focused(page: webdriver.Chrome) -> str:
    script = "const e = document.activeElement; return e.id || e.className || e.name || e.tagName"
    return str(page.execute_script(script))


def until(page: webdriver.Chrome, condition: Callable[[], bool]) -> None:
    """Wait for what the browser does in its next frame."""
    WebDriverWait(page, 10).until(lambda _: condition())


def press(page: webdriver.Chrome, *keys: str) -> None:
    ActionChains(page).send_keys(*keys).perform()


def test_it_opens_without_an_error_or_a_request(page: webdriver.Chrome, train: str) -> None:
    assert log(page, "browser") == []
    requests = [entry for entry in log(page, "performance") if "requestWillBeSent" in entry]
    addresses = [re.findall(r'"url":"([^"]*)"', entry)[-1] for entry in requests]
    assert train in addresses
    assert [address for address in addresses if not address.startswith(("data:", train))] == []
    assert page.title == "sa_000000: a look at the config"
    assert "Counts agree" in one(page, ".verdict").text


def test_text_of_the_data_stays_text(page: webdriver.Chrome) -> None:
    assert one(page, "#row-1 .caption").get_attribute("textContent") == HOSTILE
    assert one(page, "#row-4 .caption.none").get_attribute("textContent") == "none"
    assert page.title == "sa_000000: a look at the config"


def test_rows_are_paged_by_buttons_the_chooser_and_the_strip(page: webdriver.Chrome) -> None:
    assert shown(page) == ["row-1"]
    one(page, "#next").click()
    assert shown(page) == ["row-2"]
    assert status(page).startswith("Row 2 of 4: sa_")
    one(page, "#previous").click()
    one(page, "#previous").click()
    assert shown(page) == ["row-1"]
    assert one(page, "#previous").get_attribute("aria-disabled") == "true"
    one(page, "#chooser option[value='3']").click()
    assert shown(page) == ["row-4"]
    page.find_elements(By.CSS_SELECTOR, ".strip button")[2].click()
    assert shown(page) == ["row-3"]
    assert page.current_url.endswith("#row-3")


def test_rows_are_paged_by_the_arrow_keys(page: webdriver.Chrome) -> None:
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert shown(page) == ["row-2"]
    press(page, *[Keys.ARROW_RIGHT] * 9)
    assert shown(page) == ["row-4"]


def test_pointing_at_a_mask_brings_it_out_and_a_click_switches_it(page: webdriver.Chrome) -> None:
    page.execute_script("document.querySelector('#row-1 .stage').scrollIntoView()")
    shape = page.find_elements(By.CSS_SELECTOR, "#row-1 .shapes path")[-1]  # the one on top
    number = shape.get_attribute("data-mask")
    option = one(page, f"#r0m{number}")
    x, y = page.execute_script(FIND_POINT, shape)
    actions: Any = ActionChains(page)
    actions.w3c_actions.pointer_action.move_to_location(x, y)
    actions.perform()
    until(page, lambda: "lit" in str(shape.get_attribute("class")))
    assert page.execute_script("return document.querySelectorAll('.lit').length") == 2
    assert "lit" in str(option.get_attribute("class"))
    assert f"Mask {number}," in one(page, "#row-1 .readout").text
    ActionChains(page).click().perform()
    until(page, lambda: option.get_attribute("aria-selected") == "false")
    assert "off" in str(shape.get_attribute("class"))
    assert status(page) == f"Mask {number} off"
    ActionChains(page).click().perform()
    until(page, lambda: option.get_attribute("aria-selected") == "true")
    ActionChains(page).move_to_element(one(page, "h1")).perform()
    until(page, lambda: not page.find_elements(By.CSS_SELECTOR, ".lit"))


def test_the_list_of_masks_works_by_keyboard_alone(page: webdriver.Chrome) -> None:
    page.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(30):
        press(page, Keys.TAB)
        reached.append(focused(page))
        if reached[-1].startswith("masks train"):
            break
    assert reached[0] == "skip"
    order = [name for name in reached if name in ("ways", "previous", "chooser", "next")]
    assert order == ["ways", "previous", "chooser", "next"]
    assert reached[-1].startswith("masks train")
    options = page.find_elements(By.CSS_SELECTOR, "#row-1 [role=option]")
    assert "lit" in str(options[0].get_attribute("class"))
    press(page, Keys.ARROW_DOWN, Keys.SPACE)
    masks = one(page, "#row-1 .masks")
    assert masks.get_attribute("aria-activedescendant") == options[1].get_attribute("id")
    assert options[1].get_attribute("aria-selected") == "false"
    press(page, Keys.END, Keys.ENTER)
    assert options[-1].get_attribute("aria-selected") == "false"
    press(page, Keys.HOME, Keys.ARROW_RIGHT)  # the next row: its list has the focus
    assert shown(page) == ["row-2"]
    assert page.execute_script("return document.activeElement.closest('.row').id") == "row-2"
    press(page, Keys.TAB)
    assert not focused(page).startswith("masks")


def test_all_masks_switch_off_and_on(page: webdriver.Chrome) -> None:
    one(page, "#row-1 [data-all=off]").click()
    assert page.find_elements(By.CSS_SELECTOR, "#row-1 [aria-selected=true]") == []
    assert status(page) == "All 3 masks off"
    one(page, "#row-1 [data-all=on]").click()
    assert page.find_elements(By.CSS_SELECTOR, "#row-1 path.off") == []


def test_masks_and_what_lies_behind_them_can_be_chosen(page: webdriver.Chrome) -> None:
    def look(selector: str, name: str) -> Any:
        script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
        return page.execute_script(script, selector, name)

    photo, control = "#row-1 .stage .photo", "#row-1 .stage .control"
    assert (look(photo, "display") != "none", look(control, "display") != "none") == (True, False)
    one(page, "input[value=control]").click()
    assert (look(photo, "display") != "none", look(control, "display") != "none") == (False, True)
    one(page, "input[value=plain]").click()
    assert (look(photo, "display"), look(control, "display")) == ("none", "none")
    page.execute_script(
        "document.querySelectorAll('.shapes path').forEach(p => p.style.transition = 'none')"
    )
    one(page, "input[value=pointed]").click()
    assert look("#row-1 .shapes path", "strokeOpacity") == "0"
    one(page, "input[value=outlined]").click()
    assert look("#row-1 .shapes path", "fillOpacity") == "0"
    assert look("#row-1 .shapes path", "strokeOpacity") == "1"


def test_cards_lead_to_the_rows_to_look_at_first(page: webdriver.Chrome) -> None:
    cards = {
        card.find_element(By.CLASS_NAME, "title").text: card
        for card in page.find_elements(By.CSS_SELECTOR, ".cards li")
    }
    assert list(cards)[:2] == ["rejects", "captions missing"]
    assert [cards[name].find_element(By.TAG_NAME, "b").text for name in list(cards)[:2]] == [
        "2",
        "1",
    ]
    link = cards["captions missing"].find_element(By.TAG_NAME, "a")
    page.execute_script("arguments[0].focus()", link)
    press(page, Keys.ENTER)
    assert shown(page) == ["row-4"]
    assert focused(page) == "rows"
    assert one(page, "#ways").get_attribute("value") == "uncaptioned"
    assert one(page, "#position").text == "1 of 1"
    press(page, Keys.ARROW_RIGHT)
    assert shown(page) == ["row-4"]
    cards["rejects"].find_element(By.TAG_NAME, "a").click()
    assert shown(page) == ["row-3"]
    problems = page.find_elements(By.CSS_SELECTOR, "#row-3 .problem")
    assert [problem.text.split(",")[0] for problem in problems] == [
        "1 annotation rejected:",
        "area_mismatch",
    ]


def test_rows_are_shown_in_the_order_that_is_chosen(page: webdriver.Chrome) -> None:
    one(page, "#ways option[value=most]").click()
    assert shown(page) == ["row-2"]  # four masks
    names = [option.text for option in page.find_elements(By.CSS_SELECTOR, "#chooser option")]
    assert names == ["sa_2.jpg", "sa_1.jpg", "sa_7.jpg", "sa_5.jpg"]
    assert one(page, "#position").text == "1 of 4"
    press(page, Keys.TAB, Keys.TAB, Keys.TAB, Keys.ENTER)  # the button that goes on
    assert shown(page) == ["row-1"]
    one(page, "#ways option[value=fewest]").click()
    assert shown(page) == ["row-3"]
    page.find_elements(By.CSS_SELECTOR, ".strip button")[-1].click()
    assert shown(page) == ["row-2"]
    one(page, "#ways option[value=rejects]").click()
    page.execute_script("location.hash = '#row-1'")  # a row that is no part of what is shown
    until(page, lambda: shown(page) == ["row-1"])
    assert one(page, "#ways").get_attribute("value") == "all"


def test_masks_are_sorted_by_every_column(page: webdriver.Chrome) -> None:
    def column(row: int, place: int) -> list[float]:
        cells = page.find_elements(
            By.CSS_SELECTOR, f"#row-{row} .masks li span:nth-of-type({place})"
        )
        return [float(cell.text.replace(",", "")) for cell in cells]

    one(page, "#next").click()
    heads = page.find_elements(By.CSS_SELECTOR, "#row-2 .columns button")
    titles = [head.text.partition("\n")[0].rstrip(" ▲▼") for head in heads]
    assert titles == ["SA-1B no.", "ASAM no.", "pixels", "predicted IoU", "stability"]
    assert column(2, 1) == [0, 1, 2, 3]
    assert sorted(column(2, 2)) == [0, 1, 2, 3]
    for place, head in enumerate(heads[2:4], start=3):
        head.click()
        assert column(2, place) == sorted(column(2, place), reverse=True)
        head.click()
        assert column(2, place) == sorted(column(2, place))
        assert head.get_attribute("aria-pressed") == "true"
    assert column(2, 1)[0] == 3  # the lowest IoU
    assert status(page) == "Sorted by predicted IoU, rising"
    one(page, "#previous").click()
    assert column(1, 4) == sorted(column(1, 4))  # the next row is sorted the same way
    one(page, "#row-1 .columns button").click()
    assert column(1, 1) == [0, 1, 2]


def test_every_mask_of_a_stack_is_reached_by_pointing(page: webdriver.Chrome) -> None:
    one(page, "#next").click()
    page.execute_script("document.querySelector('#row-2 .stage').scrollIntoView()")
    shapes = page.find_elements(By.CSS_SELECTOR, "#row-2 .shapes path")
    drawn = [str(shape.get_attribute("data-mask")) for shape in shapes]
    assert page.execute_script(FIND_POINT, shapes[drawn.index("0")]) is None  # covered by mask 3
    point = page.execute_script(FIND_POINT, shapes[drawn.index("3")])
    actions: Any = ActionChains(page)
    actions.w3c_actions.pointer_action.move_to_location(*point)
    actions.click().perform()
    buttons = page.find_elements(By.CSS_SELECTOR, "#row-2 .here button")
    found = [button.text for button in buttons]
    assert found.index("3") < found.index("0")
    assert buttons[0].get_attribute("aria-pressed") == "false"  # what the click switched off
    below = buttons[found.index("0")]
    below.click()
    assert below.get_attribute("aria-pressed") == "false"
    assert one(page, "#r1m0").get_attribute("aria-selected") == "false"
    assert "lit" in str(one(page, "#r1m0").get_attribute("class"))
    one(page, "#row-2 [data-all=on]").click()
    assert below.get_attribute("aria-pressed") == "true"
    one(page, "#next").click()
    one(page, "#previous").click()
    assert page.find_elements(By.CSS_SELECTOR, ".here button") == []


def test_typing_finds_a_mask_by_its_number_or_category(
    browser: webdriver.Chrome, train: str, evaluation: str
) -> None:
    for address, keys, expected in (
        (train, ["2"], "2"),
        (evaluation, ["d"], "2"),
        (evaluation, ["d", Keys.HOME, "d", "o", "g"], "2"),
        (evaluation, ["N", "o"], "0"),
        (evaluation, ["x"], "0"),  # nothing begins with it
    ):
        page = opened(browser, address)
        masks = one(page, ".row.current .masks")
        masks.send_keys(*keys)
        assert masks.get_attribute("aria-activedescendant") == f"r0m{expected}", keys
    page.execute_script("document.querySelectorAll('.row.current .columns button')[1].click()")
    names = page.find_elements(By.CSS_SELECTOR, ".row.current .masks li span:nth-of-type(2)")
    assert [name.text for name in names] == ["<b>$猫$</b>", "dog", "dog (crowd)", "no category"]


def test_the_charts_have_bars_words_and_numbers(page: webdriver.Chrome) -> None:
    figures = page.find_elements(By.CSS_SELECTOR, "figure")
    assert len(figures) == 6
    for figure in figures:
        assert figure.find_elements(By.CSS_SELECTOR, "svg .bar path")
        assert figure.find_element(By.CSS_SELECTOR, "figcaption").text
        assert figure.find_elements(By.CSS_SELECTOR, "table td")
        assert figure.find_element(By.CSS_SELECTOR, "svg").size["height"] > 80


def test_without_scripts_and_in_print_every_row_is_there(
    browser: webdriver.Chrome, train: str
) -> None:
    page = opened(browser, train)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert shown(page) == ["row-1", "row-2", "row-3", "row-4"]
    assert not one(page, "#chooser").is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page = opened(browser, train)
    assert shown(page) == ["row-1", "row-2", "row-3", "row-4"]
    assert not one(page, "#chooser").is_displayed()
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_nothing_is_wider_than_the_window(
    browser: webdriver.Chrome, train: str, evaluation: str, eval_dist: Path, tmp_path: Path
) -> None:
    """Among the pages are those of the longest names, and of the most splits and categories."""
    addresses = [train, evaluation]
    for name in ("plittersdorf", "cvc_clinicdb", "egohos", "cityscapes", "ade20k"):
        assert main([str(eval_dist), name, "--out", str(tmp_path / name), "--quiet"]) == 0
        addresses.append((tmp_path / name / "index.html").as_uri())
    wide = {}
    for address in addresses:
        opened(browser, address)
        for width in (1900, 1280, 768, 360):
            size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            found = browser.execute_script(
                "return [innerWidth, document.documentElement.scrollWidth]"
            )
            if found[0] != width or found[1] > width:
                wide[address, width] = found
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide == {}


def test_an_evaluation_page_shows_void_and_categories(
    browser: webdriver.Chrome, evaluation: str
) -> None:
    page = opened(browser, evaluation)
    assert log(page, "browser") == []
    assert one(page, "#row-2 .void").get_attribute("d")
    assert not page.find_elements(By.CSS_SELECTOR, "input[value=control]")
    labels = [
        option.get_attribute("aria-label")
        for option in page.find_elements(By.CSS_SELECTOR, "#row-1 [role=option]")
    ]
    assert str(labels[1]).startswith("Mask 1, <b>$猫$</b>, ")
    assert ", crowd, " in str(labels[3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["train", "evaluation"])
def test_axe_finds_nothing(
    browser: webdriver.Chrome, train: str, evaluation: str, kind: str, scheme: str
) -> None:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-core: pip install --no-deps axe-playwright-python")
    script = (Path(found.origin).parent / "axe.min.js").read_text()
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page = opened(browser, {"train": train, "evaluation": evaluation}[kind])
    page.execute_script(script)
    result = page.execute_async_script(
        "const done = arguments[arguments.length - 1]; axe.run().then(done, e => done(String(e)))"
    )
    problems = [
        f"{problem['id']}: {problem['help']}: {[node['html'][:200] for node in problem['nodes']]}"
        for problem in result["violations"]
    ]
    assert problems == []
    assert len(result["passes"]) > 20
