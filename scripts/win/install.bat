@echo off
rem Sets InstaMsg up on Windows: packages, .env, database, first user.
setlocal
cd /d "%~dp0..\.."

rem The launcher that python.org installs finds Python also where PATH does not name it.
set "PYTHON=python"
where py >nul 2>nul && set "PYTHON=py -3"

%PYTHON% scripts\start.py --setup-only %* || exit /b 1
echo InstaMsg is set up. Start it with: %PYTHON% scripts\start.py
