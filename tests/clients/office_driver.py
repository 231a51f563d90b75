"""Drives one LibreOffice, for clients/office.py: run by a Python that has `uno`, which is the system's.

Argument: the name of the pipe where LibreOffice accepts. Then one command a line on standard input, as JSON, with one
answer a line on standard output: {"ok": what it returned, "asked": [...]} or {"error": text, "asked": [...]}. `asked`
is what LibreOffice wanted to know of its user meanwhile, each {"request": its UNO type, and fields of it}; who is asked
for a login gives those of the command ("logins", one after the other), and who is told that a document is locked reads
it only.
"""

import json
import sys
import time
import traceback

import uno
import unohelper
from com.sun.star.beans import PropertyValue
from com.sun.star.task import XInteractionHandler2

#: A request is an exception in UNO, and its fields tell what is asked.
FIELDS = ("DocumentURL", "UserInfo", "ServerName", "Realm", "UserName", "Message", "Code", "ErrCode")

_set = uno._uno_struct__setattr__


def _set_what_there_is(self, name, value):
    """Python 3.11 sets `args` of an exception that it is handed, and pyuno 7.4 knows no such member of a request."""
    if name != "args":
        _set(self, name, value)


uno._uno_struct__setattr__ = _set_what_there_is


class Person(unohelper.Base, XInteractionHandler2):
    """Answers LibreOffice's questions, and remembers them."""

    def __init__(self):
        self.asked = []
        self.logins = []

    def handle(self, interaction):
        self.handleInteractionRequest(interaction)

    def handleInteractionRequest(self, interaction):
        try:
            return self._answer(interaction)
        except BaseException:  # which UNO would keep to itself
            traceback.print_exc()
            raise

    def _answer(self, interaction):
        request = interaction.getRequest()
        said = {"request": request.__class__.__name__.rpartition(".")[2]}
        for name in FIELDS:
            value = getattr(request, name, None)
            if value is not None:
                said[name] = value if isinstance(value, (str, int)) else str(value)
        self.asked.append(said)
        answers = {
            each.typeName.rpartition(".XInteraction")[2]: continuation
            for continuation in interaction.getContinuations()
            for each in continuation.getTypes()
        }
        supply = answers.get("SupplyAuthentication2")
        # Every session asks, and there are several to a document; who asks on and on was told a wrong password.
        asked = sum("Realm" in each for each in self.asked)
        if supply and self.logins and asked <= 3:
            name, password = self.logins[min(asked, len(self.logins)) - 1]
            supply.setUserName(name)
            supply.setPassword(password)
            supply.select()
        elif said["request"] == "LockedDocumentRequest" and "Approve" in answers:
            answers["Approve"].select()  # "Open read-only"
        else:
            answers["Abort"].select()
        return True


class Driver:
    def __init__(self, pipe):
        self.person = Person()
        self.open_documents = {}
        local = uno.getComponentContext()
        resolver = local.ServiceManager.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", local)
        end = time.monotonic() + 60
        while True:
            try:
                self.context = resolver.resolve(f"uno:pipe,name={pipe};urp;StarOffice.ComponentContext")
                break
            except Exception:  # not yet
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        self.desktop = self.context.ServiceManager.createInstanceWithContext("com.sun.star.frame.Desktop", self.context)

    def _handlers(self, **more):
        values = {"Hidden": True, "InteractionHandler": self.person, "AuthenticationHandler": self.person, **more}
        return tuple(PropertyValue(name, 0, value, 0) for name, value in values.items())

    def create(self, url, kind, text, filter_name):
        """A new document of a kind ("swriter", "scalc") with a text, saved at the URL."""
        document = self.desktop.loadComponentFromURL(f"private:factory/{kind}", "_blank", 0, self._handlers())
        self._write(document, text)
        document.storeAsURL(url, self._handlers(FilterName=filter_name))
        self.open_documents[url] = document

    def list(self, url):
        """The URLs of a folder's members, as LibreOffice's own file dialog spells them."""
        access = self.context.ServiceManager.createInstanceWithContext(
            "com.sun.star.ucb.SimpleFileAccess", self.context
        )
        access.setInteractionHandler(self.person)
        return list(access.getFolderContents(url, True))

    def open(self, url, **options):
        """{"readonly", "text"}"""
        document = self.desktop.loadComponentFromURL(url, "_blank", 0, self._handlers(**options))
        if document is None:
            raise RuntimeError("it does not open")
        self.open_documents[url] = document
        return {"readonly": document.isReadonly(), "text": self._read(document)}

    def write(self, url, text):
        self._write(self.open_documents[url], text)

    def save(self, url):
        self.open_documents[url].store()

    def save_as(self, url, target):
        document = self.open_documents.pop(url)
        self.open_documents[target] = document
        document.storeAsURL(target, self._handlers())

    def close(self, url):
        self.open_documents.pop(url).close(True)

    @staticmethod
    def _write(document, text):
        if document.supportsService("com.sun.star.sheet.SpreadsheetDocument"):
            document.Sheets.getByIndex(0).getCellByPosition(0, 0).String = text
        else:
            document.Text.setString(text)

    @staticmethod
    def _read(document):
        if document.supportsService("com.sun.star.sheet.SpreadsheetDocument"):
            return document.Sheets.getByIndex(0).getCellByPosition(0, 0).String
        return document.Text.getString()


def main():
    driver = Driver(sys.argv[1])
    print(json.dumps({"ok": "connected", "asked": []}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        driver.person.asked = []
        driver.person.logins = command.pop("logins")
        try:
            answer = {"ok": getattr(driver, command.pop("do"))(**command)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {getattr(error, 'Message', error)}"}
        print(json.dumps({**answer, "asked": driver.person.asked}), flush=True)


main()
